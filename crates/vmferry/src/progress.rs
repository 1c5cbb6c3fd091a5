//! How far the sending of a machine is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is sent of a machine. Any thread may look at it, while it is sent and afterwards.
#[derive(Debug, Default)]
pub struct Progress {
    sent: AtomicU64,
    on_demand: AtomicU64,
    requests: AtomicU64,
}

impl Progress {
    /// Pages that were sent, zeros included, whether a guest asked for them or not.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Pages that were sent because the guest waited for them.
    pub fn on_demand(&self) -> u64 {
        self.on_demand.load(Ordering::Relaxed)
    }

    /// Requests that arrived; some are for pages that were on their way already.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn add_sent(&self, pages: u64) {
        self.sent.fetch_add(pages, Ordering::Relaxed);
    }

    pub(crate) fn add_on_demand(&self, pages: u64) {
        self.on_demand.fetch_add(pages, Ordering::Relaxed);
    }

    pub(crate) fn add_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}
