//! The Linux guest: Debian's cloud kernel with a file system of ours, filled with pages that no
//! compressor and no deduplication has an easy time with.
//!
//! What it says and what it takes is told in `tests/guest/linux/worker.c`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::console::Line;
use crate::cpio::Archive as Cpio;
use crate::debian::{Archive, Suite};
use crate::{Guest, PATIENCE, cache, pattern};

/// The driver of QEMU's configuration device, as the kernel's package calls it: it tells a `vmcoreinfo` device
/// where the kernel's note is.
const FW_CFG: &str = "qemu_fw_cfg.ko";
const FIRMWARE_DRIVERS: &str = "kernel/drivers/firmware";
const INIT: &[u8] = include_bytes!("../guest/linux/init");
const WORKER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/worker"));

/// What the guest does; passed on its kernel command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linux {
    /// How much of its memory it fills, in MiB: half noise, half text.
    pub fill_mib: u32,
    /// Whether it checks what it has filled again and again.
    pub check: bool,
}

impl Default for Linux {
    fn default() -> Self {
        Self {
            fill_mib: 64,
            check: true,
        }
    }
}

impl Linux {
    pub(crate) fn arguments(&self) -> String {
        // A kernel that boots on a busy machine does not see the timer's first ticks in time, and would give up:
        // `no_timer_check` takes it for granted that they come.
        format!(
            "console=ttyS0 quiet panic=-1 no_timer_check fill={} check={}",
            self.fill_mib,
            u32::from(self.check)
        )
    }
}

/// What QEMU boots.
#[derive(Debug, Clone)]
pub struct Files {
    /// For `-kernel`.
    pub kernel: PathBuf,
    /// For `-initrd`.
    pub initramfs: PathBuf,
}

/// The guest's files, fetched and built now if the cache does not have them.
///
/// # Errors
/// They are not there and cannot be fetched.
pub fn files() -> Result<Files> {
    let parts = cache::entry("linux-v2", |partial| {
        eprintln!("lab: fetching a Linux kernel from Debian's mirror");
        fetch(partial)
    })
    .context("no Linux kernel (./x lab fetches it)")?;
    let name = format!(
        "initramfs-{:016x}",
        pattern::sum(INIT) ^ pattern::sum(WORKER)
    );
    let built = cache::entry(&name, |partial| {
        let [busybox, module] = ["busybox", FW_CFG].map(|name| fs::read(parts.join(name)));
        Ok(fs::write(
            partial.join("initramfs"),
            initramfs(&busybox?, &module?),
        )?)
    })?;
    Ok(Files {
        kernel: parts.join("vmlinuz"),
        initramfs: built.join("initramfs"),
    })
}

fn fetch(partial: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(cache::folder()?)?;
    let archive = Archive::open(scratch.path(), Suite::Bookworm)?;
    let mut packages =
        archive.closure(&["linux-image-cloud-amd64", "busybox-static"], "bookworm")?;
    // The kernel itself, of all that would be installed around it.
    packages.retain(|package| {
        package.name == "busybox-static" || package.name.starts_with("linux-image-6")
    });
    let root = scratch.path().join("root");
    archive.unpack(&packages, &root)?;
    let boot = fs::read_dir(root.join("boot"))?.filter_map(|entry| Some(entry.ok()?.path()));
    let kernel = boot.into_iter().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("vmlinuz-"))
    });
    fs::copy(
        kernel.context("the package holds no kernel")?,
        partial.join("vmlinuz"),
    )?;
    let versions = fs::read_dir(root.join("lib/modules"))?;
    let drivers = versions.filter_map(|entry| Some(entry.ok()?.path().join(FIRMWARE_DRIVERS)));
    let module = drivers
        .map(|folder| folder.join(FW_CFG))
        .find(|path| path.is_file());
    fs::copy(
        module.context("the package holds no driver of the configuration device")?,
        partial.join(FW_CFG),
    )?;
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path));
    let busybox = busybox.iter().find(|path| path.is_file());
    fs::copy(
        busybox.context("the package holds no busybox")?,
        partial.join("busybox"),
    )?;
    Ok(())
}

fn initramfs(busybox: &[u8], module: &[u8]) -> Vec<u8> {
    let mut archive = Cpio::default();
    for folder in ["bin", "dev", "mem", "proc", "sys"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    archive.program("bin/busybox", busybox);
    archive.program("init", INIT);
    archive.program("worker", WORKER);
    archive.program(FW_CFG, module);
    archive.finish()
}

/// What a line of the guest's says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// All is filled.
    Filled,
    /// A whole round of checking found all as it was left; the sum of it.
    Sum(String),
    /// Its clock goes on.
    Heartbeat(u64),
    /// What it got done in a second.
    Work(u64),
    /// A command is carried out.
    Done(String),
    /// Something is not as it was left.
    Bad(String),
    /// Anything else.
    Other,
}

impl Report {
    /// Reads a line.
    pub fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["FILLED", _] => Self::Filled,
            ["SUM", _, sum] => Self::Sum((*sum).to_owned()),
            ["HB", count] => count.parse().map_or(Self::Other, Self::Heartbeat),
            ["WORK", count] => count.parse().map_or(Self::Other, Self::Work),
            ["DONE", what @ ..] => Self::Done(what.join(" ")),
            ["BAD", what @ ..] => Self::Bad(what.join(" ")),
            _ => Self::Other,
        }
    }
}

/// What a Linux guest can be asked for.
impl Guest {
    /// Waits until the guest has filled its memory.
    ///
    /// # Errors
    /// It does not come so far.
    pub fn wait_until_filled(&self) -> Result<()> {
        self.wait_for_report(0, "a filled memory", |report| {
            (*report == Report::Filled).then_some(())
        })
    }

    /// Waits for `count` more rounds of checks, and gives the last sum.
    ///
    /// # Errors
    /// Something is not as it was left, or the guest does not come so far.
    pub fn wait_for_sums(&self, count: usize) -> Result<String> {
        let mut left = count;
        let position = self.console().position();
        self.wait_for_report(position, "a sum", |report| match report {
            Report::Sum(sum) => {
                left = left.saturating_sub(1);
                (left == 0).then(|| sum.clone())
            }
            _ => None,
        })
    }

    /// Types a command (`rewrite 5`, `move 1`, `free 2`, `check 0`) and waits until it is done.
    ///
    /// # Errors
    /// It is not done.
    pub fn command(&self, command: &str) -> Result<()> {
        let position = self.console().position();
        self.told(self.console().write(&format!("{command}\n")))?;
        let name = command.split(' ').next().unwrap_or_default();
        self.wait_for_report(position, command, |report| match report {
            Report::Done(what) => what.starts_with(name).then_some(()),
            _ => None,
        })
    }

    fn wait_for_report<T>(
        &self,
        position: usize,
        what: &str,
        mut wanted: impl FnMut(&Report) -> Option<T>,
    ) -> Result<T> {
        let deadline = std::time::Instant::now() + 3 * PATIENCE;
        let look = |line: &Line| match Report::parse(&line.text) {
            Report::Bad(what) => Some(Err(anyhow!("the guest found: {what}"))),
            report => wanted(&report).map(Ok),
        };
        let ended = self.console().wait_from(position, what, deadline, look);
        self.told(ended.and_then(|outcome| outcome))
    }
}
