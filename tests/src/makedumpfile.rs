//! makedumpfile, which finds its way about a crashed Linux by the note that the kernel left for it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The guest kernel's own log, read out of a core file.
///
/// # Errors
/// It is not there, or does not find the log.
pub fn kernel_log(core: &Path) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let output = Command::new("makedumpfile")
        .arg("--dump-dmesg")
        .args([core, &log])
        .output()
        .context(
            "no makedumpfile ('./x test' installs it, as 'apt-get install makedumpfile' does)",
        )?;
    ensure!(
        output.status.success(),
        "makedumpfile {}: {}: {}{}",
        core.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // A log may hold anything.
    Ok(String::from_utf8_lossy(&std::fs::read(&log)?).into_owned())
}
