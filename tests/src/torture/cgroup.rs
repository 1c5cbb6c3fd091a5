//! A control group: its processes are killed all at once, as those of a login or a service are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::root::{as_root, run};

/// A folder of the control groups' file system (version 2).
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
    // Dropped last.
    _mounted: Mounted,
}

#[derive(Debug)]
struct Mounted(TempDir);

impl Cgroup {
    /// One of our own, where we are root or can become it and the kernel has them.
    pub(super) fn new() -> Result<Self> {
        let mounted = Mounted(TempDir::with_prefix("vmferry-cgroup-")?);
        run(as_root("mount")
            .args(["-t", "cgroup2", "none"])
            .arg(mounted.0.path()))?;
        let folder = mounted
            .0
            .path()
            .join(format!("vmferry-torture-{}", std::process::id()));
        fs::create_dir(&folder).context("cannot make a control group")?;
        Ok(Self {
            folder,
            _mounted: mounted,
        })
    }

    /// Where a process writes its id to join.
    pub(super) fn members(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Kills them all.
    pub(super) fn kill(&self) -> Result<()> {
        fs::write(self.folder.join("cgroup.kill"), "1").context("cannot kill a control group")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = self.kill();
        // It can be removed when the last of them has gone.
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.folder).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path: &Path = self.0.path();
        let _ = run(as_root("umount").arg("--lazy").arg(path));
    }
}
