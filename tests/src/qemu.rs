//! The QEMUs that the lab knows, side by side in its cache.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, ensure};

use crate::cache;
use crate::debian::{Archive, Package, Suite, run};

/// Goes up when an installation is laid out in another way.
const RECIPE: u32 = 1;

/// A release of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// 7.2, of Debian bookworm.
    V7_2,
    /// 10.0, of bookworm-backports.
    V10_0,
}

impl Release {
    /// All that the lab has, oldest first.
    pub const ALL: [Self; 2] = [Self::V7_2, Self::V10_0];

    fn suite(self) -> &'static str {
        match self {
            Self::V7_2 => "bookworm",
            Self::V10_0 => "bookworm-backports",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V7_2 => "7.2",
            Self::V10_0 => "10.0",
        })
    }
}

/// An installed QEMU.
#[derive(Debug, Clone)]
pub struct Qemu {
    release: Release,
    root: PathBuf,
}

impl Qemu {
    /// The QEMU of this release; fetched now if the cache does not have it.
    ///
    /// # Errors
    /// It is not there and cannot be fetched.
    pub fn get(release: Release) -> Result<Self> {
        let name = format!("qemu-{release}-v{RECIPE}");
        let root = cache::entry(&name, |partial| {
            eprintln!("lab: fetching QEMU {release} from Debian's mirror");
            install(release, partial)
        })
        .with_context(|| format!("no QEMU {release} (./x lab fetches it)"))?;
        Ok(Self { release, root })
    }

    /// Which release this is.
    pub fn release(&self) -> Release {
        self.release
    }

    /// `qemu-system-x86_64`. It needs no wrapper and no environment.
    pub fn system(&self) -> PathBuf {
        self.tool("qemu-system-x86_64")
    }

    /// Its firmware, for `-L`: Debian's 10.0 looks for it in absolute folders only.
    pub fn firmware(&self) -> PathBuf {
        self.root.join("usr/share/qemu")
    }

    /// `qemu-img`.
    pub fn img(&self) -> PathBuf {
        self.tool("qemu-img")
    }

    fn tool(&self, name: &str) -> PathBuf {
        self.root.join("usr/bin").join(name)
    }
}

fn install(release: Release, root: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(cache::folder()?)?;
    let archive = Archive::open(scratch.path(), Suite::Bookworm)?;
    let mut packages = archive.closure(&["qemu-system-x86", "qemu-utils"], release.suite())?;
    packages.retain(|package| !of_the_host(package));
    archive.unpack(&packages, root)?;
    gather_libraries(root)?;
    gather_firmware(root)?;

    let tools = scratch.path().join("tools");
    let mut patchelf = archive.closure(&["patchelf"], "bookworm")?;
    patchelf.retain(|package| package.name == "patchelf");
    archive.unpack(&patchelf, &tools)?;
    for program in ["qemu-system-x86_64", "qemu-img", "qemu-io", "qemu-nbd"] {
        let mut patch = Command::new(tools.join("usr/bin/patchelf"));
        patch.args([
            "--force-rpath",
            "--set-rpath",
            "$ORIGIN/../lib/x86_64-linux-gnu",
        ]);
        run(patch.arg(root.join("usr/bin").join(program)))?;
    }
    let says = run(Command::new(root.join("usr/bin/qemu-system-x86_64")).arg("--version"))?;
    let expected = format!("QEMU emulator version {release}.");
    ensure!(
        says.starts_with(&expected),
        "expected a QEMU {release}, found {says}"
    );
    Ok(())
}

/// The C library must be that of the machine, and programs of the base system are of no use.
fn of_the_host(package: &Package) -> bool {
    let name = package.name.as_str();
    let programs = ["adduser", "debconf", "passwd", "iso-codes", "libcap2-bin"];
    name == "libc6"
        || name == "gcc-12-base"
        || name.starts_with("libpam")
        || programs.contains(&name)
}

/// Brings the libraries of `/lib` and `/usr/lib` into one folder, as on a merged system.
fn gather_libraries(root: &Path) -> Result<()> {
    let (from, to) = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu");
    let from = root.join(from);
    if !from.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&from)? {
        let entry = entry?;
        let target = root.join(to).join(entry.file_name());
        if !target.exists() {
            fs::rename(entry.path(), target)?;
        }
    }
    Ok(fs::remove_dir_all(root.join("lib"))?)
}

/// QEMU looks for firmware in its own data folder and in absolute ones; the absolute ones are not
/// ours.
fn gather_firmware(root: &Path) -> io::Result<()> {
    let data = root.join("usr/share/qemu");
    for source in ["usr/share/seabios", "usr/lib/ipxe/qemu"] {
        let source = root.join(source);
        if !source.is_dir() {
            continue;
        }
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let target = data.join(entry.file_name());
            // A link into an absolute folder counts as missing.
            if target.symlink_metadata().is_ok() {
                fs::remove_file(&target)?;
            }
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
