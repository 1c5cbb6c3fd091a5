//! Putting everything back: the migration ended, the guest running, settings restored.

use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use serde_json::{Value, json};

use super::{Ending, Plan};
use crate::machine::run_state;
use crate::migration::{self, MAX_BANDWIDTH, Status};
use crate::qmp::{Client, Error, Events, Result};

/// After this long in `setup`, a migration will not leave it by itself (QEMU 10.0, right after a
/// snapshot).
const STUCK: Duration = Duration::from_secs(2);

/// How often a state is asked for when no event reports it.
const LOOK: Duration = Duration::from_millis(50);

/// How long QEMU may take to let a guest go on by itself before it is asked to.
const BY_ITSELF: Duration = Duration::from_secs(1);

/// Who may be let go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// A guest whose migration has just been ours: nobody else could stop it meanwhile.
    Ours,
    /// A guest that was left alone since the save died: one that was stopped by us, but not one whose
    /// migration completed, unless that was ours for certain.
    Left {
        /// Whether the last migration was ours, if it has completed.
        completed: bool,
        /// Whether no setting has a value of somebody else's.
        intact: bool,
    },
}

impl Resume {
    /// Whether a migration that is under way may be cancelled. One that somebody else has begun since may not.
    fn may_cancel(self) -> bool {
        !matches!(self, Self::Left { intact: false, .. })
    }
}

/// Puts everything back until `deadline`: waits until no migration is under way, lets the guest go on if it ran before, and
/// puts settings back. The stream itself must have been ended, by reading it to its end or by an [`Ender`](super::Ender).
/// It can be called again.
///
/// # Errors
/// What could not be put back, in one line.
pub fn settle(
    client: &Client,
    plan: &Plan,
    resume: Resume,
    deadline: Instant,
) -> std::result::Result<(), String> {
    let mut trouble = Vec::new();
    let mut note = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            trouble.push(format!("{what}: {error}"));
        }
    };
    let events = client.subscribe();
    // If the migration never began, QEMU still has its end of the channel. It refuses if it did begin.
    let closed = client.execute("closefd", json!({"fdname": plan.fd_name}));
    match closed {
        Ok(_) | Err(Error::Refused { .. }) => {}
        Err(error) => note("the channel", Err(error)),
    }
    if plan.ending == Ending::Outlast {
        // It may have been slowed down, for a store that takes nothing any more.
        let unlimited = plan.changed.set_again(client, MAX_BANDWIDTH, json!(0));
        note("the migration", unlimited);
    }
    note(
        "the migration",
        until_ended(client, plan, resume, &events, deadline),
    );
    if plan.resume {
        let let_run = let_run(client, plan, resume, &events, deadline);
        // A monitor that has gone says nothing of the guest.
        let what = match &let_run {
            Err(Error::Closed | Error::Io(_)) => "it is not known whether the guest runs",
            Err(Error::Timeout { command, .. }) if command == "query-status" => {
                "it is not known whether the guest runs"
            }
            _ => "the guest does not run",
        };
        note(what, let_run);
    }
    note("migration settings", plan.changed.put_back(client));
    match trouble.is_empty() {
        true => Ok(()),
        false => Err(trouble.join("; ")),
    }
}

/// Waits until no migration is under way.
fn until_ended(
    client: &Client,
    plan: &Plan,
    resume: Resume,
    events: &Events,
    deadline: Instant,
) -> Result<()> {
    let began = Instant::now();
    let mut cancelled = false;
    loop {
        let status = migration::query(client)?;
        if !status.is_under_way() {
            return Ok(());
        }
        if !cancelled && resume.may_cancel() && may_be_cancelled(&status, plan, began) {
            client.execute("migrate_cancel", Value::Null)?;
            cancelled = true;
        }
        let waiting = || format!("end of the migration, which is '{}'", status.name());
        next_look(events, began, deadline, waiting)?;
    }
}

/// Whether a migration that does not end by itself may be cancelled. In a snapshot of QEMU 7.2 that has begun,
/// cancelling is what stops the guest for ever.
fn may_be_cancelled(status: &Status, plan: &Plan, began: Instant) -> bool {
    status.name() == "setup" && plan.ending != Ending::Drain && began.elapsed() > STUCK
}

/// Waits for the next event, or for a moment.
fn next_look(
    events: &Events,
    began: Instant,
    deadline: Instant,
    waiting: impl Fn() -> String,
) -> Result<()> {
    if Instant::now() >= deadline {
        return Err(Error::Timeout {
            command: waiting(),
            waited: began.elapsed(),
        });
    }
    match events.receiver().recv_timeout(LOOK) {
        Err(RecvTimeoutError::Disconnected) => Err(Error::Closed),
        _ => Ok(()),
    }
}

/// Lets the guest go on, unless it stands still for a reason of its own.
fn let_run(
    client: &Client,
    plan: &Plan,
    resume: Resume,
    events: &Events,
    deadline: Instant,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let state = run_state(client)?;
        let go_on = match state.as_str() {
            "paused" | "prelaunch" if plan.stopped => true,
            // Only its management could have stopped it.
            "paused" | "prelaunch" => return Ok(()),
            "postmigrate" => match resume {
                Resume::Ours
                | Resume::Left {
                    completed: true, ..
                } => true,
                Resume::Left {
                    completed: false, ..
                } => {
                    return Err(Error::Protocol {
                        what: "'postmigrate': another migration of this machine may have completed after \
                               the save. If it has not been migrated away, say 'cont' in its monitor"
                            .into(),
                    });
                }
            },
            // QEMU ends what it does here by itself, and lets the guest go on unless it completed.
            "finish-migrate" | "save-vm" => began.elapsed() > BY_ITSELF,
            // It runs; or its guest has shut down, crashed, or waits for its disk.
            _ => return Ok(()),
        };
        let mut waiting = format!("the guest, whose run state is '{state}'");
        if go_on {
            match client.execute("cont", Value::Null) {
                Ok(_) => return Ok(()),
                // A migration that has just completed is not cleared away yet (10.0): a little later it is.
                Err(Error::Refused { description, .. }) => waiting = description,
                Err(error) => return Err(error),
            }
        }
        let waiting = || waiting.clone();
        next_look(events, began, deadline, waiting)?;
    }
}
