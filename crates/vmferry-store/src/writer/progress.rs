//! What can be seen of a save from outside while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::batch::Content;

/// Counters of a save; any thread may look at any time.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    pages: AtomicU64,
    zero_pages: AtomicU64,
    repeated_pages: AtomicU64,
    raw_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    /// Batches that were handed to the store and not yet collected, and frames that are not yet in a pack.
    queued: AtomicU64,
    /// When the queue last got shorter, or stopped being empty: nanoseconds since `began`.
    moved: AtomicU64,
}

/// A look at a save's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgressCounters {
    /// Pages that came, each time that they came.
    pub pages: u64,
    /// Those of them that were zero.
    pub zero_pages: u64,
    /// Those of them that had come before.
    pub repeated_pages: u64,
    /// Bytes of pages that are in packs.
    pub raw_bytes: u64,
    /// Bytes that they take there.
    pub stored_bytes: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            pages: AtomicU64::new(0),
            zero_pages: AtomicU64::new(0),
            repeated_pages: AtomicU64::new(0),
            raw_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            moved: AtomicU64::new(0),
        }
    }

    /// The counters as they are now.
    pub fn counters(&self) -> ProgressCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressCounters {
            pages: load(&self.pages),
            zero_pages: load(&self.zero_pages),
            repeated_pages: load(&self.repeated_pages),
            raw_bytes: load(&self.raw_bytes),
            stored_bytes: load(&self.stored_bytes),
        }
    }

    /// For how long the store has taken nothing though there was something to take; `None` if nothing
    /// waits.
    ///
    /// A guest that is being saved while it runs stands still when this does not end: whoever feeds
    /// the save should then stop feeding it, and drain its source elsewhere.
    pub fn stalled(&self, now: Instant) -> Option<Duration> {
        if self.queued.load(Ordering::Acquire) == 0 {
            return None;
        }
        let moved = Duration::from_nanos(self.moved.load(Ordering::Acquire));
        Some(now.saturating_duration_since(self.began + moved))
    }

    /// A page came. Only the feeder says so.
    pub(super) fn page(&self, content: Content) {
        increment(&self.pages);
        if content == Content::Zero {
            increment(&self.zero_pages);
        }
    }

    /// A page had come before. Only the collector says so.
    pub(super) fn repeat(&self) {
        increment(&self.repeated_pages);
    }

    /// A batch or a frame was handed to the next thread.
    pub(super) fn queue(&self) {
        if self.queued.fetch_add(1, Ordering::AcqRel) == 0 {
            self.touch();
        }
    }

    /// A batch was collected, and none of its pages was handed on: the save has got on.
    pub(super) fn collect(&self) {
        self.touch();
        self.queued.fetch_sub(1, Ordering::AcqRel);
    }

    /// A batch was collected, and frames of its pages were handed on: the save gets on when these are in
    /// their pack, and stands still if they never are.
    pub(super) fn pass_on(&self) {
        self.queued.fetch_sub(1, Ordering::AcqRel);
    }

    /// A frame is in its pack.
    pub(super) fn accept(&self, raw: usize, stored: usize) {
        self.raw_bytes.fetch_add(raw as u64, Ordering::Relaxed);
        self.stored_bytes
            .fetch_add(stored as u64, Ordering::Relaxed);
        self.touch();
        self.queued.fetch_sub(1, Ordering::AcqRel);
    }

    fn touch(&self) {
        let elapsed = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved.store(elapsed, Ordering::Release);
    }
}

/// Adds one to a counter that one thread writes.
fn increment(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_is_stalled_from_the_last_time_that_its_queue_moved() {
        let progress = Progress::new();
        let later = |seconds| progress.began + Duration::from_secs(seconds);
        assert_eq!(progress.stalled(later(100)), None);
        progress.queue();
        progress.queue();
        assert!(progress.stalled(later(100)).unwrap() > Duration::from_secs(90));
        progress.accept(65536, 20000);
        progress.moved.store(99_000_000_000, Ordering::Release);
        assert_eq!(progress.stalled(later(100)), Some(Duration::from_secs(1)));
        progress.accept(65536, 20000);
        assert_eq!(progress.stalled(later(200)), None);
        assert_eq!(progress.counters().stored_bytes, 40000);
    }

    #[test]
    fn what_is_only_handed_on_to_a_pack_that_takes_nothing_does_not_hide_that_it_stands_still() {
        let progress = Progress::new();
        let stalled = || progress.stalled(progress.began + Duration::from_secs(100));
        let long = Duration::from_secs(90);
        progress.queue();
        progress.moved.store(0, Ordering::Release);
        // A batch comes, and becomes a frame.
        progress.queue();
        progress.queue();
        progress.pass_on();
        assert_eq!(stalled(), Some(Duration::from_secs(100)));
        // Another one has zero pages alone.
        progress.moved.store(50_000_000_000, Ordering::Release);
        progress.queue();
        progress.collect();
        assert!(stalled().unwrap() > long);
        progress.accept(65536, 20000);
        progress.accept(65536, 20000);
        assert_eq!(stalled(), None);
    }
}
