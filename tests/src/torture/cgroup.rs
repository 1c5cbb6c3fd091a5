//! A control group: its processes are killed all at once, as those of a login or a service are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What the name of a group begins with; our process id follows.
const PREFIX: &str = "vmferry-torture-";

/// A folder of the control groups' file system (version 2).
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// One of our own, where the machine has them and we may make one.
    pub(super) fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mounted = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let folder = words.next()?;
            (words.next()? == "cgroup2").then_some(folder)
        });
        let root = PathBuf::from(mounted.context("no control groups of version 2")?);
        sweep(&root);
        let folder = root.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&folder).context("cannot make a control group")?;
        Ok(Self { folder })
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

/// Removes the groups of programs that were killed.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
