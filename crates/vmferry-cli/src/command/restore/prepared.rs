//! What a restore changes in QEMU, put back however the restore goes out.

use std::time::Instant;

use serde_json::{Value, json};

use super::check::Start;
use super::destination::END;
use crate::migration::{self, Changed, Status, Wanted};
use crate::qmp::{Client, Error, Result};

/// Names QEMU's end of the channel.
pub(super) const FD_NAME: &str = "vmferry-incoming";

/// A QEMU whose settings were changed for a restore; they are put back when it is dropped, at the latest.
pub(super) struct Prepared<'a> {
    client: &'a Client,
    changed: Option<Changed>,
    /// Whether we have told it not to let its guest run.
    held_back: bool,
}

impl<'a> Prepared<'a> {
    /// Sets capabilities and parameters.
    ///
    /// # Errors
    /// QEMU refuses; nothing is left changed.
    pub(super) fn set(client: &'a Client, lazy: bool) -> Result<Self> {
        let wanted = match lazy {
            true => Wanted::lazy_destination(),
            false => Wanted::plain(),
        };
        Ok(Self {
            client,
            changed: Some(wanted.set(client)?),
            held_back: false,
        })
    }

    /// Tells QEMU whether the guest runs in the end. While it waits, `cont` and `stop` decide nothing else.
    ///
    /// # Errors
    /// QEMU refuses: 7.2 takes its disks at a `cont`.
    pub(super) fn decide(&mut self, start: Start) -> Result<()> {
        let command = match start {
            Start::Runs => "cont",
            Start::Stays => "stop",
            // So it was started.
            Start::HeldBack | Start::AsQemuWasStarted => return Ok(()),
        };
        self.client.execute(command, Value::Null)?;
        self.held_back = start == Start::Stays;
        Ok(())
    }

    /// Puts everything back: in words, what could not be, if QEMU lives.
    pub(super) fn put_back(mut self) -> Option<String> {
        self.restore()
    }

    fn restore(&mut self) -> Option<String> {
        let changed = self.changed.take()?;
        let status = match self.status() {
            Ok(Some(status)) => status,
            Ok(None) => {
                return Some(
                    "QEMU's migration settings stay changed: its monitor does not answer".into(),
                );
            }
            // There is nothing left to put back.
            Err(_) => return None,
        };
        if status.is_under_way() {
            return Some(format!(
                "QEMU's migration settings stay changed, as the rest of the transfer needs them (status '{}')",
                status.name()
            ));
        }
        let mut trouble = Vec::new();
        let mut note = |what: &str, result: Result<()>| match result {
            Ok(()) | Err(Error::Closed) => {}
            Err(error) => trouble.push(format!("{what}: {error}")),
        };
        note(
            "QEMU's migration settings stay changed",
            changed.put_back(self.client),
        );
        if status.name() == "none" {
            // Where the stream was never begun, QEMU may still have its end, and refuses if it has not.
            let _ = self.client.execute("closefd", json!({"fdname": FD_NAME}));
            if self.held_back {
                note(
                    "QEMU keeps to a 'stop'",
                    self.client.execute("cont", Value::Null).map(drop),
                );
            }
        }
        (!trouble.is_empty()).then(|| trouble.join("; "))
    }

    /// A QEMU that is about to end, or waits for memory, does not answer at once.
    fn status(&self) -> Result<Option<Status>> {
        let deadline = Instant::now() + END;
        loop {
            match migration::glance(self.client)? {
                None if Instant::now() < deadline => {}
                status => return Ok(status),
            }
        }
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        // Only a panic comes here with something to put back.
        let _ = self.restore();
    }
}
