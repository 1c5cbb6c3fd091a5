//! Whatever is done to a save, and whenever: its guest goes on. `./x torture` does it at many more moments.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use vmferry_tests::torture::{Campaign, Cell, Rules};

/// All that is done to the saves of one QEMU.
fn tortured(pattern: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let campaign = Campaign::new(Rules::short(), folder.path())?;
    let mut failures = Vec::new();
    let mut cells = Cell::named(&[pattern.to_owned()])?;
    cells.retain(Cell::is_promised);
    campaign.lead(&cells, &AtomicBool::new(false), |run| {
        if !run.is_good() {
            failures.push(format!("{run:#?}"));
        }
    })?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn a_guest_of_qemu_7_2_outlives_all_that_is_done_to_its_saves() -> Result<()> {
    tortured("7.2")
}

#[test]
fn a_guest_of_qemu_10_0_outlives_all_that_is_done_to_its_saves() -> Result<()> {
    tortured("10.0")
}
