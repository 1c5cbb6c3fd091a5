//! Putting everything back: the migration ended, settings restored, the guest running.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use rustix::io::Errno;
use serde_json::{Value, json};

use super::{Ending, Plan};
use crate::machine::run_state;
use crate::migration;
use crate::qmp::{Client, Error, Events, Result};

/// How long QEMU may take to end a migration whose channel is gone, or has been read to its end.
const END: Duration = Duration::from_secs(60);

/// After this long in `setup`, a migration will not leave it by itself (QEMU 10.0, right after a
/// snapshot).
const STUCK: Duration = Duration::from_secs(2);

/// How often the state is asked for when no event tells of it.
const LOOK: Duration = Duration::from_millis(50);

/// Run states in which a guest stands still only because it was stopped.
const STOPPED: &[&str] = &[
    "paused",
    "postmigrate",
    "finish-migrate",
    "save-vm",
    "prelaunch",
];

/// What came of putting everything back.
#[derive(Debug, Default)]
pub struct Settled {
    /// What could not be put back, in words for whoever has to do it now.
    pub trouble: Vec<String>,
}

impl Settled {
    fn note(&mut self, what: &str, result: Result<()>) {
        if let Err(error) = result {
            self.trouble.push(format!("{what}: {error}"));
        }
    }

    /// All of it in one line, if there is any.
    pub fn into_text(self) -> Option<String> {
        (!self.trouble.is_empty()).then(|| self.trouble.join("; "))
    }
}

/// Ends the migration if one is under way, lets the guest run if it ran before, and puts settings
/// back. `channel` is our end of the channel, if the stream has not been read to its end.
pub fn settle(client: &Client, plan: &Plan, channel: Option<BorrowedFd<'_>>) -> Settled {
    let mut settled = Settled::default();
    let events = client.subscribe();
    if let Some(channel) = channel {
        // If the migration never began, QEMU still has its end; then nothing would ever come.
        let closed = client.execute("closefd", json!({"fdname": plan.fd_name}));
        settled.note(
            "the migration",
            end(client, plan.ending, channel, closed.is_ok()),
        );
    }
    settled.note("the migration", until_ended(client, plan, &events));
    if plan.resume {
        settled.note("the guest is not running", resume(client));
    }
    settled.note("migration settings", plan.changed.put_back(client));
    settled
}

/// Makes an end to the stream.
fn end(client: &Client, ending: Ending, channel: BorrowedFd<'_>, never_begun: bool) -> Result<()> {
    let under_way = migration::query(client)?.is_under_way();
    if never_begun || !under_way {
        return Ok(());
    }
    match ending {
        Ending::Close => rustix::net::shutdown(channel, rustix::net::Shutdown::Both),
        Ending::Drain => drain(channel),
    }
    .map_err(|error| Error::Io(error.into()))
}

/// Reads everything that comes, and drops it, until the other end closes.
pub(super) fn drain(channel: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut piece = vec![0; 1 << 20];
    loop {
        match rustix::io::read(channel, &mut *piece) {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until no migration is under way.
fn until_ended(client: &Client, plan: &Plan, events: &Events) -> Result<()> {
    let began = Instant::now();
    let mut cancelled = false;
    loop {
        let status = migration::query(client)?;
        if !status.is_under_way() {
            return Ok(());
        }
        let waited = began.elapsed();
        if waited > END {
            return Err(Error::Timeout {
                command: format!("end of the migration, which is '{}'", status.name()),
                waited,
            });
        }
        // Not for an ending by draining: there, cancelling is what stops the guest for ever.
        let stuck = status.name() == "setup" && waited > STUCK;
        if stuck && !cancelled && plan.ending == Ending::Close {
            client.execute("migrate_cancel", Value::Null)?;
            cancelled = true;
        }
        if let Err(RecvTimeoutError::Disconnected) = events.receiver().recv_timeout(LOOK) {
            return Err(Error::Closed);
        }
    }
}

/// Lets the guest run.
fn resume(client: &Client) -> Result<()> {
    let state = run_state(client)?;
    if STOPPED.contains(&state.as_str()) {
        client.execute("cont", Value::Null)?;
        return Ok(());
    }
    match state.as_str() {
        "running" => Ok(()),
        _ => Err(Error::Protocol {
            what: format!("run state '{state}', which the save has not caused"),
        }),
    }
}
