//! The benchmark of the C original.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Nanoseconds for each operation of the case `name`, as the original needs them.
pub(super) fn measure(program: &Path, name: &str) -> Result<f64> {
    let output = Command::new(program)
        .args([
            "--cpu", "--pin", "--runs", "3", "--ms", "20", "--filter", name,
        ])
        // What our allocator is told (see `./x peer`) is none of the original's.
        .env_remove("GLIBC_TUNABLES")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "the peer failed at {name}");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.and_then(|line| line.split(' ').next()?.parse().ok());
    value.with_context(|| format!("the peer has no case {name}"))
}
