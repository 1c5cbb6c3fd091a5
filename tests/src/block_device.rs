//! A block device, as a machine's disk or a volume for its state is one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::root::{as_root, run};

/// A loop device over a file; dropping it detaches it.
#[derive(Debug)]
pub struct BlockDevice {
    path: PathBuf,
    /// Has the file.
    _folder: TempDir,
}

impl BlockDevice {
    /// A device of some MiB of zeros, which we may read and write.
    ///
    /// # Errors
    /// We are not root and cannot become it, or the machine has no loop devices.
    pub fn new(mib: u64) -> Result<Self> {
        let folder = TempDir::with_prefix("vmferry-device-")?;
        let image = folder.path().join("image");
        std::fs::File::create(&image)?.set_len(mib << 20)?;
        let mut attach = as_root("losetup");
        let output = attach.args(["--find", "--show"]).arg(&image).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{attach:?}: {said}");
        let device = Self {
            path: String::from_utf8(output.stdout)?.trim_end().into(),
            _folder: folder,
        };
        let us = rustix::process::getuid().as_raw().to_string();
        run(as_root("chown").arg(us).arg(&device.path))?;
        Ok(device)
    }

    /// A device with the bytes of a file at its beginning, and less than a MiB of zeros after them.
    ///
    /// # Errors
    /// As for [`new`](Self::new); or the file cannot be copied.
    pub fn holding(file: &Path) -> Result<Self> {
        let len = file.metadata()?.len();
        let device = Self::new(len.div_ceil(1 << 20))?;
        let mut copy = Command::new("dd");
        copy.arg(format!("if={}", file.display()));
        copy.arg(format!("of={}", device.path.display()));
        run(copy.args(["bs=1M", "conv=fsync"])).context("the device takes the file")?;
        Ok(device)
    }

    /// `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // Whoever still has it open keeps it, but not in our way.
        let _ = run(as_root("losetup").arg("--detach").arg(&self.path));
    }
}
