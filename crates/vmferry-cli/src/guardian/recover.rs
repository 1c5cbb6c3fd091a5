//! Putting right what a save has left whose saver and guardian are dead.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::note::{self, FoundNote};
use super::{Resume, settle};
use crate::machine::{self, ProcessId};
use crate::migration::{self, Status};
use crate::qmp::{self, Client};

/// How long QEMU may take to end the migration that was left, and to put things right.
const PATIENCE: Duration = Duration::from_secs(60);

/// By how much the clocks of a migration and of its note may differ: the time between two signs of life,
/// and a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

/// A machine that was put right.
#[derive(Debug, Serialize)]
pub struct Recovered {
    /// The VM, as it was to be saved.
    pub vm: String,
    /// Its monitor.
    pub socket: PathBuf,
    /// What its guest does now.
    pub run_state: String,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vm, run_state, .. } = self;
        write!(
            f,
            "'{vm}' is put right after a save that was killed; its run state is '{run_state}'"
        )
    }
}

/// Why a machine was not put right.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Somebody else is at it.
    #[error(
        "a save of this machine, as '{vm}', is under way or is being put right by process {pid}; wait for its end"
    )]
    UnderWay {
        /// The VM.
        vm: String,
        /// The saver, or its guardian.
        pid: i32,
    },
    /// What could not be put right.
    #[error("the save of '{vm}' was killed, and what it left cannot be put right: {trouble}")]
    Trouble {
        /// The VM.
        vm: String,
        /// What it is.
        trouble: String,
    },
    /// The monitor does not answer.
    #[error(transparent)]
    Monitor(#[from] qmp::Error),
}

/// Puts right what was left in the machine that `client` speaks to at `socket`, if anything was. A saver or guardian that
/// is still alive is not interfered with.
///
/// # Errors
/// Something could not be put right; or a save is under way.
pub fn recover(
    client: &Client,
    socket: &Path,
    found: Vec<FoundNote>,
) -> Result<Option<Recovered>, RecoverError> {
    let qemu = client.peer_pid().ok().and_then(ProcessId::of);
    let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
    let ours = |note: &FoundNote| match (note.note.plan.qemu, qemu) {
        (Some(noted), Some(qemu)) => noted == qemu,
        _ => note.note.plan.socket == socket,
    };
    let Some(found) = found.into_iter().find(ours) else {
        return Ok(None);
    };
    let plan = &found.note.plan;
    if let Some(keeper) = found.note.keeper() {
        let vm = plan.vm.clone();
        let pid = keeper.pid;
        return Err(RecoverError::UnderWay { vm, pid });
    }
    let status = migration::query(client)?;
    let intact = plan.changed.is_intact(client)?;
    // A migration that has not completed has moved no machine elsewhere.
    let completed = !status.is_completed() || is_ours(&found, &status) && intact;
    let resume = Resume::Left { completed, intact };
    settle(client, plan, resume, Instant::now() + PATIENCE).map_err(|trouble| {
        let vm = plan.vm.clone();
        RecoverError::Trouble { vm, trouble }
    })?;
    found.file().remove();
    Ok(Some(Recovered {
        vm: plan.vm.clone(),
        run_state: machine::run_state(client)?,
        socket,
    }))
}

/// Whether the last migration that completed was that of the save: then it had begun when the note says, and took no longer than
/// the saver lived. A guest whose other migration has completed runs elsewhere, and must not go on here.
fn is_ours(found: &FoundNote, status: &Status) -> bool {
    let Some(began_ms) = found.note.plan.began_ms else {
        return false;
    };
    let now = Duration::from_millis(note::uptime_ms());
    let lived = now
        .saturating_sub(Duration::from_millis(began_ms))
        .saturating_sub(found.age());
    Duration::from_millis(status.total_time) <= lived + SLACK
}
