//! What must be true when a run is over.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::cell::{Cell, How};
use super::rig::{Rig, delete_all, millis};
use super::save::VM;
use super::subject::Subject;
use super::trial::Trial;
use crate::{PATIENCE, Release, Vmferry};

/// How long settings may take to be back after the last process of the save has ended.
const SETTINGS: Duration = Duration::from_secs(3);

/// Every so many runs the next save is restored.
const RESTORE: u32 = 10;

/// Looks at settings, store and notes, saves once more, and may restore that.
pub(super) fn check(
    trial: &mut Trial,
    rig: &mut Rig,
    cell: &Cell,
    number: u32,
    last: bool,
) -> Result<()> {
    let subject = rig.subject()?;
    match subject.differences(SETTINGS) {
        Ok(found) if found.is_empty() => {}
        Ok(found) => trial.run.fault("settings", found.join(", ")),
        Err(error) => trial.run.fault("monitor", error),
    }
    if let Err(error) = store_is_sound(rig.vmferry(cell)) {
        trial.run.fault("store", error);
    }
    if !rig.rules.thorough && !last {
        return Ok(());
    }
    let vmferry = rig.vmferry(cell);
    let saved = save_again(subject, vmferry, cell);
    match &saved {
        Ok(took) => trial.run.next_save_ms = Some(millis(*took)),
        Err(error) => trial.run.fault("next save", error),
    }
    if saved.is_ok() {
        if let Err(error) = nothing_is_left(vmferry) {
            trial.run.fault("store", error);
        }
        // Under TCG, QEMU 7.2 loses pages that change in a live pass: what it saves is not judged.
        let is_exact = cell.how != How::Live || rig.release != Release::V7_2;
        if rig.rules.thorough && is_exact && number % RESTORE == RESTORE - 1 {
            let restored = restore(rig, vmferry);
            trial.run.restored = Some(restored.is_ok());
            if let Err(error) = restored {
                trial.run.fault("restore", error);
            }
        }
    }
    delete_all(vmferry)?;
    if let Ok(took) = saved {
        rig.has_seen(cell, took);
    }
    Ok(())
}

/// Only whole checkpoints are listed.
fn store_is_sound(vmferry: &Vmferry) -> Result<()> {
    for checkpoint in vmferry.checkpoints()? {
        let ended = vmferry.run(["verify", &checkpoint])?;
        ended
            .succeeded()
            .with_context(|| format!("{checkpoint} is listed, but not whole"))?;
    }
    Ok(())
}

fn save_again(subject: &Subject, vmferry: &Vmferry, cell: &Cell) -> Result<Duration> {
    let qmp = format!("unix:{}", subject.guest.qmp_path().display());
    let began = Instant::now();
    let run = vmferry.start(["save", VM, "--qmp", &qmp, "--mode", cell.how.mode()])?;
    run.end()?.succeeded()?;
    let took = began.elapsed();
    ensure!(
        subject.ticks_steadily(Duration::from_secs(15)),
        "the guest does not tick after it"
    );
    let found = subject.differences(SETTINGS)?;
    ensure!(found.is_empty(), "settings after it: {}", found.join(", "));
    Ok(took)
}

/// Neither unfinished files in the store, nor notes of what was changed.
fn nothing_is_left(vmferry: &Vmferry) -> Result<()> {
    let files = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).collect()
    };
    let left = files(&vmferry.store().join("tmp"));
    ensure!(left.is_empty(), "left in the store's tmp: {left:?}");
    let notes = files(&vmferry.runtime_folder());
    ensure!(notes.is_empty(), "left in the runtime folder: {notes:?}");
    Ok(())
}

fn restore(rig: &Rig, vmferry: &Vmferry) -> Result<()> {
    let guest = Subject::spec(rig.release, rig.rules.size)
        .incoming("defer")
        .start()?;
    vmferry.restore(&guest, VM, &[])?;
    let mut ticks = 0;
    let deadline = Instant::now() + PATIENCE;
    guest
        .console()
        .wait_for("ticks of a restored guest", deadline, |line| {
            match crate::linux::Report::parse(&line.text) {
                crate::linux::Report::Bad(what) => {
                    return Some(Err(anyhow::anyhow!("the restored guest found: {what}")));
                }
                crate::linux::Report::Heartbeat(_) => ticks += 1,
                _ => {}
            }
            (ticks == 5).then_some(Ok(()))
        })?
}
