//! What only root may do.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A program of the base system, to be run as root: directly, or through sudo.
pub(crate) fn as_root(program: &str) -> Command {
    let sbin = Path::new("/sbin").join(program);
    let program = if sbin.exists() { sbin } else { program.into() };
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--non-interactive").arg(program);
    command
}

/// Runs it to its end.
///
/// # Errors
/// It cannot be started, or does not end well.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim_end());
    Ok(())
}
