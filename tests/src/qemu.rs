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

/// What a QEMU emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The PC, which all guests of the lab run on.
    X86_64,
    /// ARM of 64 bits.
    Aarch64,
    /// POWER.
    Ppc64,
    /// IBM's Z.
    S390x,
}

impl Target {
    /// All that the lab has.
    pub const ALL: [Self; 4] = [Self::X86_64, Self::Aarch64, Self::Ppc64, Self::S390x];

    /// The packages, and the programs in them.
    fn contents(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::X86_64 => (
                &["qemu-system-x86", "qemu-utils"],
                &["qemu-system-x86_64", "qemu-img", "qemu-io", "qemu-nbd"],
            ),
            Self::Aarch64 => (&["qemu-system-arm"], &["qemu-system-aarch64"]),
            Self::Ppc64 => (&["qemu-system-ppc"], &["qemu-system-ppc64"]),
            Self::S390x => (&["qemu-system-misc"], &["qemu-system-s390x"]),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Ppc64 => "ppc64",
            Self::S390x => "s390x",
        })
    }
}

/// An installed QEMU.
#[derive(Debug, Clone)]
pub struct Qemu {
    release: Release,
    target: Target,
    root: PathBuf,
}

impl Qemu {
    /// The QEMU of this release for PCs; fetched now if the cache does not have it.
    ///
    /// # Errors
    /// It is not there and cannot be fetched.
    pub fn get(release: Release) -> Result<Self> {
        Self::of(release, Target::X86_64)
    }

    /// The QEMU of this release for that target; fetched now if the cache does not have it.
    ///
    /// # Errors
    /// As for [`Qemu::get`].
    pub fn of(release: Release, target: Target) -> Result<Self> {
        let name = match target {
            Target::X86_64 => format!("qemu-{release}-v{RECIPE}"),
            _ => format!("qemu-{target}-{release}-v{RECIPE}"),
        };
        let root = cache::entry(&name, |partial| {
            eprintln!("lab: fetching QEMU {release} for {target} from Debian's mirror");
            install(release, target, partial)
        })
        .with_context(|| format!("no QEMU {release} (./x lab fetches it)"))?;
        Ok(Self {
            release,
            target,
            root,
        })
    }

    /// Which release this is.
    pub fn release(&self) -> Release {
        self.release
    }

    /// `qemu-system-x86_64`, or that of another target. It needs no wrapper and no environment.
    pub fn system(&self) -> PathBuf {
        self.tool(&format!("qemu-system-{}", self.target))
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

fn install(release: Release, target: Target, root: &Path) -> Result<()> {
    let (packages, programs) = target.contents();
    let scratch = tempfile::tempdir_in(cache::folder()?)?;
    let archive = Archive::open(scratch.path(), Suite::Bookworm)?;
    let mut packages = archive.closure(packages, release.suite())?;
    packages.retain(|package| !of_the_host(package));
    archive.unpack(&packages, root)?;
    keep_programs(target, root)?;
    gather_libraries(root)?;
    gather_firmware(root)?;

    let tools = scratch.path().join("tools");
    let mut patchelf = archive.closure(&["patchelf"], "bookworm")?;
    patchelf.retain(|package| package.name == "patchelf");
    archive.unpack(&patchelf, &tools)?;
    for program in programs {
        let mut patch = Command::new(tools.join("usr/bin/patchelf"));
        patch.args([
            "--force-rpath",
            "--set-rpath",
            "$ORIGIN/../lib/x86_64-linux-gnu",
        ]);
        run(patch.arg(root.join("usr/bin").join(program)))?;
    }
    let system = root.join(format!("usr/bin/qemu-system-{target}"));
    let says = run(Command::new(system).arg("--version"))?;
    let expected = format!("QEMU emulator version {release}.");
    ensure!(
        says.starts_with(&expected),
        "expected a QEMU {release}, found {says}"
    );
    Ok(())
}

/// Some packages have programs for a dozen targets.
fn keep_programs(target: Target, root: &Path) -> Result<()> {
    let (_, wanted) = target.contents();
    for entry in fs::read_dir(root.join("usr/bin"))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("qemu-system-") && !wanted.contains(&&*name) {
            fs::remove_file(entry.path())?;
        }
    }
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
