//! A lazy source: the guest runs at once, and its memory follows as it is touched.
//!
//! [`serve`] plays the source of a postcopy migration to a QEMU that waits with `-incoming`. It
//! sends the devices first, so that the guest starts after some tens of kilobytes, then the pages
//! that the guest waits for as it asks for them, and all others behind them.
//!
//! ```text
//! we ──► QEMU                                                      QEMU ──► we
//! header, configuration
//! OPEN_RETURN_PATH, POSTCOPY_ADVISE        QEMU empties its RAM
//! START ram: block list; early devices
//! RAM_DISCARD of one page                  QEMU is ready to listen
//! PACKAGED { LISTEN, devices, PING, RUN }  the guest runs          ──► REQ_PAGES, PONG
//! PART ram: the pages that were asked for                          ──► REQ_PAGES …
//! PART ram: all others, behind them
//! END ram, end of stream                                           ──► SHUT(0)
//! ```
//!
//! # What keeps the guest whole
//!
//! * **Every block counts**: ADVISE empties the firmware's memory as well as the guest's.
//! * **Faults come before the guest runs**: QEMU's main thread touches RAM while it loads devices,
//!   and its monitor is dead meanwhile. So requests are served from a thread of their own, from the
//!   moment the package goes out.
//! * **A page is sent once**: placing a page twice stops the migration. A page is claimed by whichever of the two
//!   threads first has it in hand and may send it. Nothing is claimed that is not being sent, so a request never
//!   waits for what the source does for the other thread.
//! * **The end of the stream means complete**: QEMU turns every page that is still missing into
//!   zeros, and says `completed`. So the end is sent only after every page; whatever goes wrong
//!   before that, the channel closes without it, and QEMU waits in `postcopy-paused`.
//! * **A host page arrives as one**: its target pages go back to back.
//! * **The guest comes first**: the fill begins when QEMU has loaded the devices, which PONG tells. On a
//!   machine with few processors, reading and sending the rest would hold QEMU up.
//! * **A discard comes first**: without one, QEMU 7.2 and 10.0 hang after LISTEN. It has to be of a
//!   real page: an empty range is refused for shared memory and huge pages.

mod claims;
mod demand;
mod fill;
mod link;
mod opening;

use std::thread;

use crate::error::Error;
use crate::machine::MachineState;
use crate::progress::Progress;
use crate::ram::{BlockIndex, PageIndex, PageSource};
use crate::save::Outgoing;
use crate::stream::AbortHandle;
use crate::wire::Source;

use claims::Claims;
use link::{Framing, Link, Sender, Side};

/// The host pages behind the RAM blocks of the *destination*, which need not be those of the machine
/// that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPages {
    /// Size in bytes of the host's ordinary pages.
    pub base: u64,
    /// Size in bytes of the host pages behind each block, in the order of the blocks; blocks beyond
    /// the end of the list are on ordinary pages.
    pub blocks: Vec<u64>,
}

impl HostPages {
    /// Every block on ordinary pages of `base` bytes.
    pub fn ordinary(base: u64) -> Self {
        Self {
            base,
            blocks: Vec::new(),
        }
    }

    /// The size in bytes of the host pages behind a block.
    pub fn of(&self, block: BlockIndex) -> u64 {
        self.blocks.get(block.0).copied().unwrap_or(self.base)
    }
}

/// Watches a lazy restore. Every method is called from the thread that does the work, and holds it
/// up for as long as it takes.
pub trait Observer: Sync {
    /// The devices are out: the guest runs as soon as QEMU has loaded them.
    fn package_sent(&self) {}

    /// The guest waits for this page, for the first time.
    fn requested(&self, block: BlockIndex, page: PageIndex) {
        let _ = (block, page);
    }

    /// The last request has been answered.
    fn answered(&self) {}

    /// Every page has been sent, and the end of the stream.
    fn all_sent(&self) {}
}

macro_rules! forward {
    ($($pointer:ty: $($bound:path),*;)*) => {$(
        /// Forwards everything, also what has a default.
        #[deny(clippy::missing_trait_methods)]
        impl<O: Observer + ?Sized $(+ $bound)*> Observer for $pointer {
            fn package_sent(&self) {
                (**self).package_sent();
            }

            fn requested(&self, block: BlockIndex, page: PageIndex) {
                (**self).requested(block, page);
            }

            fn answered(&self) {
                (**self).answered();
            }

            fn all_sent(&self) {
                (**self).all_sent();
            }
        }
    )*};
}

forward! {
    &O: ;
    &mut O: ;
    Box<O>: ;
    std::sync::Arc<O>: Send;
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// Why a lazy restore ended before the destination was complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostcopyError<P> {
    /// The destination takes no more.
    #[error("the stream could not be sent")]
    Send(#[source] Error),
    /// The return path broke, or brought something that a destination does not send.
    #[error("the return path could not be read")]
    ReturnPath(#[source] Error),
    /// The destination asked for memory that the machine does not have.
    #[error("the destination asked for {length} bytes at {start:#x} of RAM block '{block}': {why}")]
    Request {
        /// The RAM block that was named.
        block: String,
        /// The first byte that was asked for.
        start: u64,
        /// How many bytes were asked for.
        length: u32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The destination said that it failed.
    #[error("the destination gave up (SHUT {0})")]
    Failed(u32),
    /// A page could not be had. The stream was left without its end, so the guest waits and nothing
    /// is lost.
    #[error("a page could not be read")]
    Page(#[source] P),
    /// The machine was sent with capability `x-ignore-shared`, so its shared memory is not here.
    /// Nothing was sent.
    #[error("the machine's shared memory was left out of its stream (x-ignore-shared)")]
    SharedMemoryLeftOut,
    /// The state is larger than one package can be.
    #[error("the device state takes {len} bytes, a package holds at most {limit}")]
    Package {
        /// Bytes of the devices' state.
        len: usize,
        /// The most that a package takes.
        limit: usize,
    },
}

/// Plays the source of a postcopy migration, from the header to the destination's last word.
///
/// `tx` and `rx` are the two directions of one channel. `abort` has to end both of them: it is used, once at most, when
/// one of the two threads has failed and the other may be waiting.
///
/// Returns when every page has been sent and the destination has said SHUT(0).
///
/// # Errors
/// The first thing that went wrong on either thread. After the package was sent, the destination is
/// then in `postcopy-paused` with a guest that is whole but waits; before that, it ends.
pub fn serve<P, W, R>(
    state: &MachineState,
    source: &P,
    host_pages: &HostPages,
    (tx, rx): (W, R),
    abort: &AbortHandle,
    progress: &Progress,
    observer: &dyn Observer,
) -> Result<(), PostcopyError<P::Error>>
where
    P: PageSource,
    W: Outgoing + Send,
    R: Source<Error: Into<Error>> + Send,
{
    let channels = (tx, rx, None);
    run(
        state, source, host_pages, channels, abort, progress, observer,
    )
}

/// As [`serve`], with a channel of its own for pages that the guest waits for: the third one, which connects
/// behind the main one. The destination must have capability `postcopy-preempt`; one of QEMU 7.2 reads nothing
/// before both have come.
///
/// # Errors
/// As for [`serve`]. `abort` has to end that channel, too.
#[doc(alias = "postcopy-preempt")]
pub fn serve_with_preempt<P, W, R>(
    state: &MachineState,
    source: &P,
    host_pages: &HostPages,
    (tx, rx, preempt): (W, R, W),
    abort: &AbortHandle,
    progress: &Progress,
    observer: &dyn Observer,
) -> Result<(), PostcopyError<P::Error>>
where
    P: PageSource,
    W: Outgoing + Send,
    R: Source<Error: Into<Error>> + Send,
{
    let channels = (tx, rx, Some(preempt));
    run(
        state, source, host_pages, channels, abort, progress, observer,
    )
}

fn run<P, W, R>(
    state: &MachineState,
    source: &P,
    host_pages: &HostPages,
    (mut tx, mut rx, preempt): (W, R, Option<W>),
    abort: &AbortHandle,
    progress: &Progress,
    observer: &dyn Observer,
) -> Result<(), PostcopyError<P::Error>>
where
    P: PageSource,
    W: Outgoing + Send,
    R: Source<Error: Into<Error>> + Send,
{
    let claims = Claims::new(source, host_pages);
    let ram = opening::send(state, source, host_pages, &mut tx)?;
    observer.package_sent();

    let urgent = preempt.map(|tx| Sender {
        tx,
        // A page there has no page before it whose block it could share.
        ram: ram.clone(),
        framing: Framing::Bare,
    });
    let framing = Framing::Sections;
    let link = Link::new(Sender { tx, ram, framing }, urgent);
    let job = Job {
        source,
        claims: &claims,
        link: &link,
        // Where nothing is known, as those do that wait for it: others pass over it.
        preempt_eos: state.rules().is_none_or(|rules| rules.preempt_eos),
        abort,
        progress,
        observer,
    };
    let (filled, answered) = thread::scope(|scope| {
        let demand = scope.spawn(|| job.answer(&mut rx));
        let filled = job.fill();
        match demand.join() {
            Ok(answered) => (filled, answered),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    // When one side fails, the other fails for its sake.
    match (filled, answered) {
        (Err(filled), Err(answered)) => Err(match link.failed_first(Side::Fill) {
            true => filled,
            false => answered,
        }),
        (filled, answered) => filled.and(answered),
    }
}

/// What both threads share.
struct Job<'a, P, W> {
    source: &'a P,
    claims: &'a Claims,
    link: &'a Link<W>,
    preempt_eos: bool,
    abort: &'a AbortHandle,
    progress: &'a Progress,
    observer: &'a dyn Observer,
}
