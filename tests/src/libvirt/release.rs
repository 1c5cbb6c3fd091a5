//! Which libvirts there are, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cache;
use crate::debian::{Archive, Package, Suite};

/// A libvirt that Debian ships.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibvirtRelease {
    /// 9.0 of Debian 12, or whatever else is installed on this machine.
    Installed,
    /// 11.3 of Debian 13, which knows images in format zstd and sparse; with Debian 13's C library, in the cache.
    V11_3,
}

impl fmt::Display for LibvirtRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Installed => "the installed libvirt",
            Self::V11_3 => "libvirt 11.3",
        })
    }
}

impl LibvirtRelease {
    /// The root of the file system in which it runs; fetched now if the cache does not have it. None for the one
    /// that is installed.
    ///
    /// # Errors
    /// It is not there and cannot be fetched, or is not installed.
    pub fn root(self) -> Result<Option<PathBuf>> {
        match self {
            Self::Installed => installed().map(|()| None),
            Self::V11_3 => {
                let root = cache::entry("libvirt-11.3-v1", |partial| {
                    eprintln!("lab: fetching {self} from Debian's mirror");
                    install(partial)
                });
                root.map(Some)
                    .with_context(|| format!("no {self} (./x lab fetches it)"))
            }
        }
    }
}

fn installed() -> Result<()> {
    for (program, package) in [
        ("/usr/sbin/libvirtd", "libvirt-daemon"),
        ("/usr/bin/virsh", "libvirt-clients"),
        ("/usr/bin/lzop", "lzop"),
        ("/usr/bin/bzip2", "bzip2"),
        ("/usr/bin/xz", "xz-utils"),
    ] {
        ensure!(
            Path::new(program).exists(),
            "{program} is missing: './x test' installs it, and so does 'apt-get install {package}'"
        );
    }
    Ok(())
}

/// The programs that it runs, with all their libraries: it finds nothing else where it runs.
const PROGRAMS: [&str; 5] = ["gzip", "bzip2", "xz-utils", "lzop", "zstd"];

fn install(root: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(cache::folder()?)?;
    let archive = Archive::open(scratch.path(), Suite::Trixie)?;
    let wanted = [
        &["libvirt-daemon", "libvirt-daemon-driver-qemu"],
        &PROGRAMS[..],
    ]
    .concat();
    let mut packages = archive.closure(&wanted, "trixie")?;
    // Its QEMU is the lab's, and there is no system around it.
    let of_use = |package: &Package| {
        let name = package.name.as_str();
        let is_library = name.starts_with("lib") && !name.starts_with("libpam-");
        is_library || name == "zlib1g" || PROGRAMS.contains(&name)
    };
    packages.retain(of_use);
    archive.unpack(&packages, root)?;
    ensure!(
        root.join("usr/sbin/libvirtd").is_file(),
        "the packages hold no libvirtd"
    );
    Ok(())
}
