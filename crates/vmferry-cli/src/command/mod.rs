//! The commands, one module each.

pub mod convert;
pub mod delete;
pub mod diff;
pub mod export;
pub mod help;
pub mod inspect;
pub mod list;
pub mod map;
pub mod recover;
pub mod report;
pub mod restore;
pub mod save;
pub mod serve;
pub mod verify;

use anyhow::{Result, bail};
use vmferry::machine::{MachineState, SavedState};
use vmferry_store::Checkpoint;

/// Everything of a checkpoint but its RAM, as it is sent to a destination.
///
/// A guest that was stopped only to be saved travels with the run state that it had before.
fn machine_state(checkpoint: &Checkpoint) -> Result<MachineState> {
    let mut state = SavedState::state(checkpoint)?;
    if state.lacks_shared_memory() {
        bail!(
            "{} was made with capability 'x-ignore-shared': the machine's shared memory is not in it, \
             so it cannot be restored",
            checkpoint.manifest().name()
        );
    }
    if let Some(run_state) = &checkpoint.manifest().machine.run_state {
        state.set_run_state(run_state);
    }
    Ok(state)
}
