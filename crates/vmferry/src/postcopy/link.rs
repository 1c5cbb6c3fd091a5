//! The sending side that both threads share: requested pages go before all others.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::save::RamWriter;

/// The channel and the `ram` section on it, for one thread at a time.
///
/// A plain mutex would let the fill, which always has something to send, keep a request waiting. So
/// the answering thread announces itself first, and the fill stands back while it is announced.
#[derive(Debug)]
pub(super) struct Link<W> {
    sender: Mutex<Option<Sender<W>>>,
    /// Answers that have been begun and not been sent.
    announced: AtomicUsize,
    answered: Condvar,
    failed_first: AtomicU8,
}

/// The two threads, for telling which of them failed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Side {
    /// Sends all pages, one after the other.
    Fill = 1,
    /// Answers requests.
    Demand = 2,
}

/// What is needed to send pages.
#[derive(Debug)]
pub(super) struct Sender<W> {
    pub(super) tx: W,
    pub(super) ram: RamWriter,
}

/// An answer that has been announced.
pub(super) struct Announced<'a, W> {
    link: &'a Link<W>,
}

impl<W> Link<W> {
    pub(super) fn new(tx: W, ram: RamWriter) -> Self {
        Self {
            sender: Mutex::new(Some(Sender { tx, ram })),
            announced: AtomicUsize::new(0),
            answered: Condvar::new(),
            failed_first: AtomicU8::new(0),
        }
    }

    /// Announces an answer: the fill stands back until it is dropped.
    pub(super) fn announce(&self) -> Announced<'_, W> {
        self.announced.fetch_add(1, Ordering::SeqCst);
        Announced { link: self }
    }

    /// The sender for an answer; `None` if the link was closed.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Sender<W>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sender for the fill, once no answer is announced; `None` if the link was closed.
    pub(super) fn lock_behind(&self) -> MutexGuard<'_, Option<Sender<W>>> {
        let mut sender = self.lock();
        while self.announced.load(Ordering::SeqCst) > 0 {
            sender = self
                .answered
                .wait(sender)
                .unwrap_or_else(PoisonError::into_inner);
        }
        sender
    }

    /// Closes the channel without an end of the stream, because `side` has failed: nobody sends any
    /// more. `abort` must make a blocked send return.
    pub(super) fn fail(&self, side: Side, abort: &(dyn Fn() + Sync)) {
        let first =
            self.failed_first
                .compare_exchange(0, side as u8, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            abort();
        }
        *self.lock() = None;
    }

    /// Whether `side` was the first to fail.
    pub(super) fn failed_first(&self, side: Side) -> bool {
        self.failed_first.load(Ordering::SeqCst) == side as u8
    }
}

impl<W> Drop for Announced<'_, W> {
    fn drop(&mut self) {
        // Under the lock, so that the fill cannot miss it between looking and waiting.
        let _sender = self.link.lock();
        self.link.announced.fetch_sub(1, Ordering::SeqCst);
        self.link.answered.notify_all();
    }
}
