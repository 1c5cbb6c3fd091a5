//! The sending side that both threads share: requested pages go before all others.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::save::RamWriter;
use crate::stream::AbortHandle;
use crate::wire::Sink;
use crate::wire::section::ElementType;

/// The channel and the `ram` section on it, for one thread at a time; and, for requested pages, a channel of
/// their own, if there is one.
///
/// A plain mutex would let the fill, which always has something to send, keep a request waiting. So
/// the answering thread announces itself first, and the fill stands back while it is announced.
#[derive(Debug)]
pub(super) struct Link<W> {
    main: Mutex<State<W>>,
    urgent: Option<Mutex<State<W>>>,
    /// Never held while something is sent.
    gate: Mutex<Gate>,
    changed: Condvar,
    failed_first: AtomicU8,
}

/// A channel, while it lasts.
#[derive(Debug)]
enum State<W> {
    /// Pages can be sent.
    Open(Sender<W>),
    /// Every page and the end of the stream have been sent.
    Ended,
    /// Nothing more may be sent, because one of the threads has failed.
    Closed,
}

/// The link was closed because one of the threads failed.
#[derive(Debug)]
pub(super) struct Closed;

/// A channel, for one of the threads alone.
pub(super) struct Guard<'a, W>(MutexGuard<'a, State<W>>);

impl<W> Guard<'_, W> {
    /// What sends.
    pub(super) fn sender(&mut self) -> Result<&mut Sender<W>, Closed> {
        match &mut *self.0 {
            State::Open(sender) => Ok(sender),
            State::Ended | State::Closed => Err(Closed),
        }
    }

    /// The end of the stream has been sent.
    pub(super) fn set_ended(&mut self) {
        *self.0 = State::Ended;
    }

    /// Whether the end of the stream has been sent.
    pub(super) fn is_ended(&self) -> bool {
        matches!(*self.0, State::Ended)
    }
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
            main: Mutex::new(State::Open(sender)),
            urgent: urgent.map(|urgent| Mutex::new(State::Open(urgent))),
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

    fn lock_main(&self) -> Guard<'_, W> {
        Guard(self.main.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The channel for requested pages alone, where there is one.
    pub(super) fn lock_urgent(&self) -> Option<Guard<'_, W>> {
        let urgent = self.urgent.as_ref()?;
        Some(Guard(urgent.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The channel for an answer.
    pub(super) fn lock_for_answer(&self) -> Guard<'_, W> {
        self.lock_urgent().unwrap_or_else(|| self.lock_main())
    }

    /// The channel for the fill, which stands back behind answers on the same channel.
    pub(super) fn lock_for_fill(&self) -> Guard<'_, W> {
        match &self.urgent {
            Some(_) => self.lock_main(),
            None => self.lock_behind(),
        }
    }

    /// The main channel, once no answer is announced.
    pub(super) fn lock_behind(&self) -> Guard<'_, W> {
        loop {
            let mut gate = self.gate();
            while gate.announced > 0 && !gate.closed {
                gate = self.wait(gate);
            }
            drop(gate);
            let main = self.lock_main();
            // An answer that was announced meanwhile goes first.
            let gate = self.gate();
            if gate.announced == 0 || gate.closed {
                return main;
            }
        }
    }

    /// Closes the channels without an end of the stream, because `side` has failed: nobody sends any
    /// more. `abort` ends them.
    pub(super) fn fail(&self, side: Side, abort: &AbortHandle) {
        let first =
            self.failed_first
                .compare_exchange(0, side as u8, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            // A channel that cannot be shut down ends at its next call.
            let _ = abort.abort();
        }
        *self.lock_main().0 = State::Closed;
        if let Some(mut urgent) = self.lock_urgent() {
            *urgent.0 = State::Closed;
        }
        self.gate().closed = true;
        self.changed.notify_all();
    }

    /// Whether `side` was the first to fail.
    pub(super) fn failed_first(&self, side: Side) -> bool {
        self.failed_first.load(Ordering::SeqCst) == side as u8
    }

    /// Closes the channels when the thread of `side` panics: the other one would wait for it, or end the stream
    /// without a page that it had claimed.
    pub(super) fn close_on_panic<'a>(
        &'a self,
        side: Side,
        abort: &'a AbortHandle,
    ) -> CloseOnPanic<'a, W> {
        CloseOnPanic {
            link: self,
            side,
            abort,
        }
    }
}

/// Closes the link when it is dropped by a panic.
pub(super) struct CloseOnPanic<'a, W> {
    link: &'a Link<W>,
    side: Side,
    abort: &'a AbortHandle,
}

impl<W> Drop for CloseOnPanic<'_, W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.link.fail(self.side, self.abort);
        }
    }
}

impl<W> Drop for Announced<'_, W> {
    fn drop(&mut self) {
        // After a panic the fill stands back until the link is closed: a page may be claimed and not sent.
        if !std::thread::panicking() {
            self.link.gate().announced -= 1;
            self.link.changed.notify_all();
        }
    }
}
