//! The commands, one module each.

pub mod convert;
pub mod delete;
pub mod diff;
pub mod export;
pub mod help;
pub mod inspect;
pub(crate) mod latest;
pub mod list;
pub mod map;
pub mod recover;
pub mod report;
pub mod restore;
pub mod save;
pub mod serve;
pub mod verify;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use vmferry::machine::{Configuration, MachineState};
use vmferry::wire::configuration;
use vmferry_store::{Checkpoint, CheckpointRef, ReadOptions, Store};

use crate::args::Global;
use crate::settings::user_folder;

/// The exit status of a command that found what it looked at damaged.
pub const DAMAGED: u8 = 1;

/// The exit status of a command that could not do what it was asked for.
pub const COULD_NOT: u8 = 2;

/// What every result says of itself, so that a program can tell what it reads.
pub const SCHEMA: u32 = 1;

/// The folder of the store.
///
/// # Errors
/// It was not given, and there is no home to look for it in.
pub fn store_path(global: &Global) -> Result<PathBuf> {
    if let Some(path) = &global.store {
        return Ok(path.clone());
    }
    match user_folder("XDG_DATA_HOME", ".local/share") {
        Some(folder) => Ok(folder),
        None => bail!("where is the store? give --store DIR, or set VMFERRY_STORE"),
    }
}

/// Opens the store, which must be there.
pub(crate) fn open_store(global: &Global) -> Result<Store> {
    let path = store_path(global)?;
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => bail!(
            "there is no store in {}: 'vmferry save' makes one, and --store names another",
            path.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "cannot reach the store in {}: --store, or VMFERRY_STORE, names another",
                    path.display()
                )
            });
        }
    }
    Store::open(&path).with_context(|| format!("cannot open the store in {}", path.display()))
}

/// Opens a checkpoint that a person named.
pub(crate) fn open_checkpoint(store: &Store, reference: &CheckpointRef) -> Result<Checkpoint> {
    let name = latest::resolve(store, reference)?;
    let opened = store.checkpoint(&name, ReadOptions::default());
    opened.with_context(|| format!("cannot open the checkpoint {name}"))
}

/// Everything of a checkpoint but its RAM, as it is sent to a destination.
///
/// A guest that was stopped only to be saved travels with the run state that it had before.
fn machine_state(checkpoint: &Checkpoint) -> Result<MachineState> {
    let stored = checkpoint.device_state()?;
    let shared_left_out = |c: &Configuration| c.has_capability(configuration::X_IGNORE_SHARED);
    if stored.configuration().is_some_and(shared_left_out) {
        bail!(
            "{} was made with capability 'x-ignore-shared': the machine's shared memory is not in it, \
             so it cannot be restored",
            checkpoint.manifest().name()
        );
    }
    let mut state = MachineState {
        configuration: stored.configuration().cloned(),
        devices: stored.devices().map(|device| (&device).into()).collect(),
        vmdesc: stored.vmdesc().map(<[u8]>::to_vec),
    };
    if let Some(run_state) = &checkpoint.manifest().machine.run_state {
        state.set_run_state(run_state);
    }
    Ok(state)
}
