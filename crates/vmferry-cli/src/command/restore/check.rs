//! Whether a QEMU can take the machine: what can be known before anything is changed or sent.

use anyhow::{Result, bail};
use vmferry::machine::MachineState;
use vmferry::ram::PageSource;
use vmferry_store::Checkpoint;

use crate::args::Restore;
use crate::machine::{self, RamListing};
use crate::migration::{self, Status};
use crate::qmp::Client;

/// Who decides whether the guest runs in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It is to run.
    Runs,
    /// It is to stand still, by the command line or because it did when it was saved.
    Stays,
    /// It is to run, but the user who started this QEMU held it back with `-S`.
    HeldBack,
    /// It is to run, unless it is held back: that cannot be seen.
    AsQemuWasStarted,
}

impl Start {
    fn of(runs: bool, held_back: Option<bool>) -> Self {
        match (runs, held_back) {
            (false, _) => Self::Stays,
            (true, Some(false)) => Self::Runs,
            (true, Some(true)) => Self::HeldBack,
            (true, None) => Self::AsQemuWasStarted,
        }
    }
}

/// A QEMU that can take the machine, as far as can be known.
pub(super) struct Ready {
    /// Its RAM.
    pub(super) ram: RamListing,
    pub(super) start: Start,
}

/// Whether this QEMU waits, and for such a machine. `held_back` says whether it was started with `-S`.
pub(super) fn check(
    client: &Client,
    checkpoint: &Checkpoint,
    state: &MachineState,
    restore: &Restore,
    held_back: Option<bool>,
) -> Result<Ready> {
    check_status(&migration::query(client)?)?;
    let run_state = machine::run_state(client)?;
    if run_state != "inmigrate" {
        bail!(
            "this QEMU does not wait for a machine (run state '{run_state}', 'inmigrate' is expected): start one \
             with '-incoming defer'"
        );
    }
    let recorded = state.configuration.as_ref();
    let recorded = recorded.map(|configuration| &configuration.machine);
    if let (Some(there), Some(recorded)) = (machine::machine_type(client)?, recorded) {
        if there != *recorded {
            bail!(
                "the checkpoint is of a machine of type '{recorded}', this QEMU is a '{there}': start it with \
                 '-machine {recorded}'"
            );
        }
    }
    let ram = RamListing::query(client)?;
    if let Some(mismatch) = ram.mismatch(checkpoint.blocks()) {
        bail!(mismatch);
    }
    if restore.lazy {
        let files = machine::file_memory(client)?;
        if let Some(why) = files.iter().find_map(machine::FileMemory::against_lazy) {
            bail!(why);
        }
    }
    let runs = !restore.paused && state_runs(checkpoint, state);
    let start = Start::of(runs, held_back);
    if start == Start::Runs {
        if let Some(why) = machine::disk_in_the_way(client)? {
            bail!(disk_is_held(client, &why));
        }
    }
    Ok(Ready { ram, start })
}

/// That QEMU cannot take a disk, in its words, and what to do.
pub(super) fn disk_is_held(client: &Client, why: &str) -> String {
    let disks = machine::writable_disks(client);
    let disks = match disks.as_slice() {
        [] => "a disk".to_owned(),
        [disk] => format!("its disk {disk}"),
        disks => format!("one of its disks {}", disks.join(", ")),
    };
    format!(
        "this QEMU cannot take {disks}, which another process holds (QEMU says: {why}): end the other, or give this \
         one a copy of the disk's contents of the checkpoint's moment"
    )
}

/// Whether QEMU has not begun to load another machine.
fn check_status(status: &Status) -> Result<()> {
    let name = status.name();
    match name {
        "none" => Ok(()),
        _ if name.starts_with("postcopy") => bail!(
            "this QEMU holds a guest that waits for its memory ('{name}'): do not end this QEMU, and do not cancel, \
             or the guest is lost. Another checkpoint needs another QEMU"
        ),
        "failed" | "completed" => bail!(
            "this QEMU has loaded a machine already (status '{name}'{}), and takes no second one: start another \
             with '-incoming defer'",
            match &status.error_desc {
                Some(why) => format!(": {why}"),
                None => String::new(),
            }
        ),
        _ => bail!(
            "this QEMU is loading a machine already (status '{name}'): start another with '-incoming defer'"
        ),
    }
}

/// Whether the guest ran when it was saved.
fn state_runs(checkpoint: &Checkpoint, state: &MachineState) -> bool {
    let recorded = checkpoint.manifest().machine.run_state.as_deref();
    // A machine type too old to say it always runs.
    let recorded = recorded.or_else(|| state.run_state());
    recorded.is_none_or(|run_state| run_state == "running")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: &str) -> String {
        let status = Status {
            status: Some(status.into()),
            ..Status::default()
        };
        check_status(&status).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_qemu_that_holds_a_guest_is_not_to_be_ended() {
        for status in ["postcopy-paused", "postcopy-active", "postcopy-recover"] {
            assert!(said(status).contains("do not end this QEMU"), "{status}");
        }
        assert_eq!(said("none"), "");
        for status in ["setup", "active", "failed", "completed", "never-heard"] {
            assert!(said(status).contains("start another"), "{status}");
        }
    }

    #[test]
    fn a_guest_runs_only_where_everybody_lets_it() {
        assert_eq!(Start::of(true, Some(false)), Start::Runs);
        assert_eq!(Start::of(true, Some(true)), Start::HeldBack);
        assert_eq!(Start::of(true, None), Start::AsQemuWasStarted);
        for held_back in [None, Some(false), Some(true)] {
            assert_eq!(Start::of(false, held_back), Start::Stays);
        }
    }
}
