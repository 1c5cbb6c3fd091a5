//! What a restore changes in QEMU, put back however the restore goes out.

use serde_json::{Value, json};

use super::check::Start;
use super::transfer::FD_NAME;
use crate::migration::{self, Changed, Wanted};
use crate::qmp::{Client, Error, Result};

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
        let trouble = |why: &str| Some(format!("QEMU's migration settings stay changed: {why}"));
        match self.put_back_all(&changed) {
            Ok(None) | Err(Error::Closed) => None,
            Ok(Some(why)) => trouble(&why),
            Err(error) => trouble(&error.to_string()),
        }
    }

    /// Why it was left undone, if it was.
    fn put_back_all(&self, changed: &Changed) -> Result<Option<String>> {
        let Some(status) = migration::glance(self.client)? else {
            return Ok(Some("its monitor does not answer".into()));
        };
        if status.is_under_way() {
            return Ok(Some(format!(
                "they are those that the rest of the transfer needs (status '{}')",
                status.name()
            )));
        }
        if status.name() == "none" {
            // Where the stream was never begun, QEMU may still have its end.
            match self.client.execute("closefd", json!({"fdname": FD_NAME})) {
                Ok(_) | Err(Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
            if self.held_back {
                self.client.execute("cont", Value::Null)?;
            }
        }
        changed.put_back(self.client).map(|()| None)
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        // Only a panic comes here with something to put back.
        let _ = self.restore();
    }
}
