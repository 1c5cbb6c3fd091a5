//! Keeping QEMU from writing much faster than the store takes it, where it does not wait for its reader.

use serde_json::{Value, json};

use crate::guardian::Plan;
use crate::migration::MAX_BANDWIDTH;
use crate::qmp::{Client, Error, Pending, Result};

/// Bytes that QEMU may be ahead before it is slowed down, and from which on it may go on.
const FAR: u64 = 128 << 20;
const NEAR: u64 = 32 << 20;

/// The slowest that QEMU takes, in bytes for each second. It gets by with a little of its memory then, which is what a guest
/// that waits for a page needs.
pub(super) const SLOWEST: u64 = 1 << 20;

/// Slows QEMU down and lets it go on.
///
/// `max-bandwidth` has an effect on a background snapshot only if it is set while the snapshot runs (seen with 7.2 and 10.0).
pub(super) struct Pace<'a> {
    client: &'a Client,
    slow: bool,
    asked: Option<Pending<'a>>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self {
            client,
            slow: false,
            asked: None,
        }
    }

    /// Adds what it may set to a plan.
    pub(super) fn plan(client: &Client, plan: &mut Plan) -> Result<()> {
        plan.changed.allow(client, MAX_BANDWIDTH, json!(0))?;
        plan.changed.allow(client, MAX_BANDWIDTH, json!(SLOWEST))
    }

    /// Sets the pace for a QEMU that is `behind` bytes ahead of its reader.
    pub(super) fn keep(&mut self, behind: u64) -> Result<()> {
        if let Some(Err(unanswered)) = self.asked.take().map(Pending::poll) {
            self.asked = Some(unanswered);
            return Ok(());
        }
        let slow = match self.slow {
            false => behind > FAR,
            true => behind > NEAR,
        };
        if slow == self.slow {
            return Ok(());
        }
        let bandwidth = if slow { SLOWEST } else { 0 };
        let value = Value::Object(
            [(MAX_BANDWIDTH.to_owned(), json!(bandwidth))]
                .into_iter()
                .collect(),
        );
        match self.client.begin("migrate-set-parameters", value) {
            Ok(pending) => (self.asked, self.slow) = (Some(pending), slow),
            // Its socket is full: next time.
            Err(Error::Io(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
