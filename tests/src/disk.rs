//! A disk that fills up, or hangs, as real ones do.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::root::{as_root, run};

/// What the name of a disk's folder begins with.
const PREFIX: &str = "vmferry-disk-";

/// A small file system of its own, in a file; dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

/// A file system on which nothing can be written until this is dropped.
#[derive(Debug)]
pub struct Frozen<'a> {
    disk: &'a Disk,
}

impl Disk {
    /// A disk of some MiB.
    ///
    /// # Errors
    /// We are not root and cannot become it, or the machine has no loop devices.
    pub fn new(mib: u64) -> Result<Self> {
        let folder = TempDir::with_prefix(PREFIX)?;
        let image = folder.path().join("image");
        std::fs::File::create(&image)?.set_len(mib << 20)?;
        run(Command::new("/sbin/mkfs.ext4")
            .args(["-q", "-F"])
            .arg(&image))?;
        let disk = Self { folder };
        std::fs::create_dir(disk.path())?;
        run(as_root("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(disk.path()))?;
        let us = rustix::process::getuid().as_raw().to_string();
        run(as_root("chown").arg(us).arg(disk.path()))?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Lets every write hang.
    ///
    /// # Errors
    /// The file system cannot be frozen.
    pub fn freeze(&self) -> Result<Frozen<'_>> {
        run(as_root("fsfreeze").arg("--freeze").arg(self.path()))?;
        Ok(Frozen { disk: self })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open on it keeps it alive, but not in our way.
        let _ = run(as_root("umount").arg("--lazy").arg(self.path()));
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = run(as_root("fsfreeze").arg("--unfreeze").arg(self.disk.path()));
    }
}
