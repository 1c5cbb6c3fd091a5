//! The sending side that both threads share: requested pages go before all others.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::save::RamWriter;
use crate::wire::Sink;
use crate::wire::section::ElementType;

/// The channel and the `ram` section on it, for one thread at a time; and, for requested pages, a channel of
/// their own, if there is one.
///
/// A plain mutex would let the fill, which always has something to send, keep a request waiting. So
/// the answering thread announces itself first, and the fill stands back while it is announced.
#[derive(Debug)]
pub(super) struct Link<W> {
    sender: Mutex<Option<Sender<W>>>,
    urgent: Option<Mutex<Option<Sender<W>>>>,
    /// Never held while something is sent.
    gate: Mutex<Gate>,
    changed: Condvar,
    failed_first: AtomicU8,
}

#[derive(Debug, Default)]
struct Gate {
    /// Answers that have been begun and not been sent.
    announced: usize,
    /// QEMU has loaded the devices.
    loaded: bool,
    /// Nobody sends any more.
    closed: bool,
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
    pub(super) framing: Framing,
}

/// What stands around pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// The section that they are a piece of.
    Sections,
    /// Nothing: the channel holds pages alone.
    Bare,
}

impl<W: Sink> Sender<W> {
    /// Begins a piece of RAM; pages may follow.
    pub(super) fn begin(&mut self, element: ElementType) {
        if self.framing == Framing::Sections {
            self.ram.begin(element, &mut self.tx);
        }
    }

    /// Ends it.
    pub(super) fn end(&mut self) {
        if self.framing == Framing::Sections {
            self.ram.end(&mut self.tx);
        }
    }
}

/// An answer that has been announced.
pub(super) struct Announced<'a, W> {
    link: &'a Link<W>,
}

impl<W> Link<W> {
    pub(super) fn new(sender: Sender<W>, urgent: Option<Sender<W>>) -> Self {
        Self {
            sender: Mutex::new(Some(sender)),
            urgent: urgent.map(|urgent| Mutex::new(Some(urgent))),
            gate: Mutex::default(),
            changed: Condvar::new(),
            failed_first: AtomicU8::new(0),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, gate: MutexGuard<'g, Gate>) -> MutexGuard<'g, Gate> {
        let gate = self.changed.wait(gate);
        gate.unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces an answer: the fill stands back until it is dropped.
    pub(super) fn announce(&self) -> Announced<'_, W> {
        self.gate().announced += 1;
        Announced { link: self }
    }

    /// QEMU has loaded the devices.
    pub(super) fn devices_are_loaded(&self) {
        self.gate().loaded = true;
        self.changed.notify_all();
    }

    /// Waits until the devices are loaded, or the link is closed.
    pub(super) fn wait_for_devices(&self) {
        let mut gate = self.gate();
        while !gate.closed && !gate.loaded {
            gate = self.wait(gate);
        }
    }

    /// The sender; `None` if the link was closed.
    fn lock(&self) -> MutexGuard<'_, Option<Sender<W>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel for requested pages alone, where there is one; `None` in it if the link was closed.
    pub(super) fn lock_urgent(&self) -> Option<MutexGuard<'_, Option<Sender<W>>>> {
        let urgent = self.urgent.as_ref()?;
        Some(urgent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The sender for an answer; `None` if the link was closed.
    pub(super) fn lock_for_answer(&self) -> MutexGuard<'_, Option<Sender<W>>> {
        self.lock_urgent().unwrap_or_else(|| self.lock())
    }

    /// The sender for the fill, which stands back behind answers on the same channel; `None` if the link was
    /// closed.
    pub(super) fn lock_for_fill(&self) -> MutexGuard<'_, Option<Sender<W>>> {
        match &self.urgent {
            Some(_) => self.lock(),
            None => self.lock_behind(),
        }
    }

    /// The sender, once no answer is announced; `None` if the link was closed.
    pub(super) fn lock_behind(&self) -> MutexGuard<'_, Option<Sender<W>>> {
        loop {
            let mut gate = self.gate();
            while gate.announced > 0 {
                gate = self.wait(gate);
            }
            drop(gate);
            let sender = self.lock();
            // An answer that was announced meanwhile goes first.
            if self.gate().announced == 0 {
                return sender;
            }
        }
    }

    /// Closes the channels without an end of the stream, because `side` has failed: nobody sends any
    /// more. `abort` must make a blocked send return.
    pub(super) fn fail(&self, side: Side, abort: &(dyn Fn() + Sync)) {
        let first =
            self.failed_first
                .compare_exchange(0, side as u8, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            abort();
        }
        *self.lock() = None;
        if let Some(mut urgent) = self.lock_urgent() {
            *urgent = None;
        }
        self.gate().closed = true;
        self.changed.notify_all();
    }

    /// Whether `side` was the first to fail.
    pub(super) fn failed_first(&self, side: Side) -> bool {
        self.failed_first.load(Ordering::SeqCst) == side as u8
    }
}

impl<W> Drop for Announced<'_, W> {
    fn drop(&mut self) {
        self.link.gate().announced -= 1;
        self.link.changed.notify_all();
    }
}
