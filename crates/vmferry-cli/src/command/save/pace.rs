//! Keeping QEMU from writing much faster than the store takes it, where it does not wait for its reader.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guardian::Plan;
use crate::migration::MAX_BANDWIDTH;
use crate::qmp::{Client, Error, Pending, Result};

/// Bytes that QEMU may be ahead before it is slowed down, and from which on it may go on.
const FAR: u64 = 128 << 20;
const NEAR: u64 = 32 << 20;

/// The limits that are set, in bytes for each second: they are noted before, so there are few. The lowest one still lets a
/// guest get the pages that it waits for, should nobody be left to lift it.
const SLOWEST: u64 = 16 << 20;
const FASTEST: u64 = 4096 << 20;

/// Over this time it is measured how much the store takes.
const WINDOW: Duration = Duration::from_secs(1);

/// Slows QEMU down and lets it go on.
///
/// `max-bandwidth` has an effect on a background snapshot only if it is set while the snapshot runs (seen with 7.2 and 10.0).
pub(super) struct Pace<'a> {
    client: &'a Client,
    /// What is set; 0 is no limit.
    limit: u64,
    /// What the store took in the last window, in bytes for each second.
    rate: u64,
    window: (Instant, u64),
    asked: Option<Pending<'a>>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self {
            client,
            limit: 0,
            rate: 0,
            window: (Instant::now(), 0),
            asked: None,
        }
    }

    /// Adds what it may set to a plan.
    pub(super) fn plan(client: &Client, plan: &mut Plan) -> Result<()> {
        let steps = std::iter::successors(Some(SLOWEST), |step| Some(step * 2));
        for limit in std::iter::once(0).chain(steps.take_while(|step| *step <= FASTEST)) {
            plan.changed.allow(client, MAX_BANDWIDTH, json!(limit))?;
        }
        Ok(())
    }

    /// Sets the pace for a QEMU that is `ahead` bytes ahead of its reader, which has `read` so many.
    pub(super) fn keep(&mut self, now: Instant, read: u64, ahead: u64) -> Result<()> {
        let (since, before) = self.window;
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= WINDOW {
            self.rate = rate(read - before, elapsed);
            self.window = (now, read);
        }
        if let Some(Err(unanswered)) = self.asked.take().map(Pending::poll) {
            self.asked = Some(unanswered);
            return Ok(());
        }
        let limit = limit(ahead, self.limit, self.rate);
        if limit == self.limit {
            return Ok(());
        }
        let value = Value::Object(
            [(MAX_BANDWIDTH.to_owned(), json!(limit))]
                .into_iter()
                .collect(),
        );
        match self.client.begin("migrate-set-parameters", value) {
            Ok(pending) => (self.asked, self.limit) = (Some(pending), limit),
            // Its socket is full: next time.
            Err(Error::Io(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let ms = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    bytes.saturating_mul(1000) / ms
}

/// The limit for a QEMU that is `ahead` bytes ahead, where the store takes `rate`: the step below that.
fn limit(ahead: u64, present: u64, rate: u64) -> u64 {
    match ahead {
        FAR.. => 1 << rate.clamp(SLOWEST, FASTEST).ilog2(),
        NEAR.. => present,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_that_is_far_ahead_is_slower_than_the_store_until_it_is_near() {
        assert_eq!(limit(NEAR, 0, 100 << 20), 0);
        assert_eq!(limit(FAR, 0, 100 << 20), 64 << 20);
        assert_eq!(limit(NEAR, 64 << 20, 100 << 20), 64 << 20);
        assert_eq!(limit(NEAR - 1, 64 << 20, 100 << 20), 0);
    }

    #[test]
    fn no_limit_is_so_low_that_a_guest_would_wait_for_its_pages() {
        assert_eq!(limit(FAR, 0, 0), SLOWEST);
        assert_eq!(limit(FAR, 0, u64::MAX), FASTEST);
        assert_eq!(rate(1 << 20, Duration::from_millis(500)), 2 << 20);
    }
}
