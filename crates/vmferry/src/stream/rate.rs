//! How much a transfer may send.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A budget of bytes for each window of time, shared by all streams of a transfer.
///
/// It counts nothing by itself and has no clock: whoever drives the transfer starts a window with
/// the total sent so far, and then asks whether the total is beyond the budget. So a `put` costs
/// nothing for being limited, and whatever is part of the total is limited: all channels together,
/// compressed data, pages that a hook has moved
/// ([`Writer::transferred`](super::Writer::transferred) has them all).
///
/// ```
/// # use vmferry::stream::RateLimiter;
/// let limiter = RateLimiter::per_window(1000);
/// limiter.start_window(0);
/// assert!(!limiter.exceeded(1000), "the budget may be used up");
/// assert!(limiter.exceeded(1001));
/// limiter.start_window(1001);
/// assert!(!limiter.exceeded(1500));
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    /// 0: no limit.
    budget: AtomicU64,
    window_nanos: AtomicU64,
    started_at: AtomicU64,
}

impl RateLimiter {
    /// No limit.
    pub const fn unlimited() -> Self {
        Self {
            budget: AtomicU64::new(0),
            window_nanos: AtomicU64::new(0),
            started_at: AtomicU64::new(0),
        }
    }

    /// At most `bytes` in a window; 0: no limit.
    pub const fn per_window(bytes: u64) -> Self {
        Self {
            budget: AtomicU64::new(bytes),
            ..Self::unlimited()
        }
    }

    /// As much of `bytes` each second as comes to a window of this length; 0: no limit. QEMU's
    /// windows are of 100 ms.
    pub fn per_second(bytes: u64, window: Duration) -> Self {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let budget = u128::from(bytes) * u128::from(nanos) / 1_000_000_000;
        let mut budget = u64::try_from(budget).unwrap_or(u64::MAX);
        if bytes > 0 {
            // A limit so low that it comes to nothing is still a limit.
            budget = budget.max(1);
        }
        Self {
            budget: AtomicU64::new(budget),
            window_nanos: AtomicU64::new(nanos),
            started_at: AtomicU64::new(0),
        }
    }

    /// Changes the budget of a window; `None`: no limit.
    #[doc(alias = "qemu_file_set_rate_limit")]
    pub fn set(&self, bytes: Option<u64>) {
        self.budget.store(bytes.unwrap_or(0), Ordering::Relaxed);
    }

    /// The budget of a window; `None`: no limit.
    #[doc(alias = "qemu_file_get_rate_limit")]
    pub fn get(&self) -> Option<u64> {
        match self.budget.load(Ordering::Relaxed) {
            0 => None,
            budget => Some(budget),
        }
    }

    /// A new window begins, in which `total` bytes have been sent so far.
    #[doc(alias = "qemu_file_reset_rate_limit")]
    pub fn start_window(&self, total: u64) {
        self.started_at.store(total, Ordering::Relaxed);
    }

    /// Whether more than the budget has been sent in this window, now that it is `total` in all.
    #[inline]
    #[doc(alias = "qemu_file_rate_limit")]
    pub fn exceeded(&self, total: u64) -> bool {
        let budget = self.budget.load(Ordering::Relaxed);
        let sent = total.saturating_sub(self.started_at.load(Ordering::Relaxed));
        budget != 0 && sent > budget
    }

    /// How long a window with what has been sent in it ought to last, now that it is `total` in all,
    /// if that is known: as long as a window lasts, or longer if too much was sent.
    pub fn window_for(&self, total: u64) -> Option<Duration> {
        let budget = self.get()?;
        let nanos = self.window_nanos.load(Ordering::Relaxed);
        if nanos == 0 {
            return None;
        }
        let sent = total.saturating_sub(self.started_at.load(Ordering::Relaxed));
        let fair = u128::from(nanos) * u128::from(sent) / u128::from(budget);
        let fair = u64::try_from(fair).unwrap_or(u64::MAX);
        Some(Duration::from_nanos(fair.max(nanos)))
    }
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self::unlimited()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_may_be_used_up_but_not_exceeded() {
        let limiter = RateLimiter::per_window(8);
        limiter.start_window(100);
        assert!(!limiter.exceeded(108));
        assert!(limiter.exceeded(109));
        limiter.start_window(109);
        assert!(!limiter.exceeded(117));
    }

    #[test]
    fn no_budget_is_no_limit() {
        for limiter in [RateLimiter::unlimited(), RateLimiter::per_window(0)] {
            assert_eq!(limiter.get(), None);
            assert!(!limiter.exceeded(u64::MAX));
        }
        let limiter = RateLimiter::per_window(5);
        limiter.set(None);
        assert!(!limiter.exceeded(u64::MAX));
        limiter.set(Some(5));
        assert!(limiter.exceeded(6));
    }

    #[test]
    fn several_streams_share_one_budget_by_their_total() {
        let limiter = RateLimiter::per_window(1000);
        let totals = [600_u64, 500];
        assert!(totals.iter().all(|total| !limiter.exceeded(*total)));
        assert!(limiter.exceeded(totals.iter().sum()));
    }

    #[test]
    fn a_rate_is_a_budget_for_each_window() {
        let limiter = RateLimiter::per_second(10_000, Duration::from_millis(100));
        assert_eq!(limiter.get(), Some(1000));
        assert_eq!(limiter.window_for(500), Some(Duration::from_millis(100)));
        assert_eq!(limiter.window_for(2500), Some(Duration::from_millis(250)));
        let least = RateLimiter::per_second(1, Duration::from_millis(100));
        assert_eq!(least.get(), Some(1));
    }
}
