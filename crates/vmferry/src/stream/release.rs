//! What happens to guest memory once it has been sent.
//!
//! Memory is given back only when the channel has taken everything that was queued with it (or, if
//! it was sent without copying, when the kernel is through with it): after a failed write it is all
//! still there, so that the transfer can be taken up again. Only whole pages are given back, because
//! the system rounds: a page of which a part was sent holds something else, too.

use std::io;

use crate::channel::RamSlice;
pub use crate::sys::SentPages;

/// Whether guest memory is still needed once it has been sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Release {
    /// It is.
    #[default]
    Keep,
    /// It is not: its whole pages go back to the system, as the stream's [`Releaser`] does it.
    AfterSend,
}

/// Gives pages of guest memory back to the system: what that takes depends on the kind of memory.
///
/// It is called with as many pages at once as lie side by side, and never with a page of which a
/// part was not sent.
pub trait Releaser {
    /// The size of the pages of this memory, a power of two; those of the system, unless it is
    /// on huge pages.
    fn page_size(&self) -> usize {
        rustix::param::page_size()
    }

    /// Gives the pages back.
    ///
    /// # Errors
    /// What the system says. The stream goes on all the same, and
    /// [tells](super::Writer::release_report) of it.
    fn release(&mut self, pages: SentPages<'_>) -> io::Result<()>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        /// Forwards everything, also what has a default.
        #[deny(clippy::missing_trait_methods)]
        impl<R: Releaser + ?Sized> Releaser for $pointer {
            fn page_size(&self) -> usize {
                (**self).page_size()
            }

            fn release(&mut self, pages: SentPages<'_>) -> io::Result<()> {
                (**self).release(pages)
            }
        }
    )*};
}

forward!(&mut R, Box<R>);

/// Gives nothing back.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRelease;

/// Private memory: its pages are dropped.
#[doc(alias = "qemu_iovec_release_ram")]
#[derive(Debug, Clone, Copy, Default)]
pub struct DiscardPrivate;

/// Shared memory (a memfd, a file, hugetlbfs): a hole is punched into what is mapped. Dropping the
/// pages of such a mapping, as [`DiscardPrivate`] does, would free nothing.
#[derive(Debug, Clone, Copy)]
pub struct PunchHole {
    page_size: usize,
}

impl PunchHole {
    /// For memory on pages of `page_size` bytes, a power of two.
    pub fn new(page_size: usize) -> Self {
        Self { page_size }
    }
}

impl Default for PunchHole {
    fn default() -> Self {
        Self::new(rustix::param::page_size())
    }
}

impl Releaser for NoRelease {
    fn release(&mut self, _: SentPages<'_>) -> io::Result<()> {
        Ok(())
    }
}

impl Releaser for DiscardPrivate {
    fn release(&mut self, pages: SentPages<'_>) -> io::Result<()> {
        pages.discard_private()
    }
}

impl Releaser for PunchHole {
    fn page_size(&self) -> usize {
        self.page_size
    }

    fn release(&mut self, pages: SentPages<'_>) -> io::Result<()> {
        pages.punch_hole()
    }
}

/// What became of the memory that was to be given back.
#[derive(Debug, Default)]
pub struct ReleaseReport {
    /// Bytes given back.
    pub released: u64,
    /// Ranges that the system did not take back.
    pub failures: u64,
    /// Why it did not take the first of them.
    pub first_failure: Option<io::Error>,
}

/// Joins what was sent into ranges, and gives them back.
#[derive(Debug)]
pub(super) struct Ledger<'ram, M> {
    releaser: M,
    /// Sent, and not given back yet; the next slice may go on where it ends.
    open: Option<RamSlice<'ram>>,
    report: ReleaseReport,
}

impl<'ram, M: Releaser> Ledger<'ram, M> {
    pub(super) fn new(releaser: M) -> Self {
        Self {
            releaser,
            open: None,
            report: ReleaseReport::default(),
        }
    }

    pub(super) fn report(&self) -> &ReleaseReport {
        &self.report
    }

    /// All of `slices` was sent, in this order.
    pub(super) fn sent(&mut self, slices: impl Iterator<Item = RamSlice<'ram>>) {
        for slice in slices {
            if let Some(joined) = self.open.and_then(|open| open.join(slice)) {
                self.open = Some(joined);
            } else {
                self.give_back();
                self.open = Some(slice);
            }
        }
        self.give_back();
    }

    /// Gives the whole pages of the open range back. What is behind them stays open: the rest of
    /// its page may come next.
    fn give_back(&mut self) {
        let Some(open) = self.open else {
            return;
        };
        let page_size = self.releaser.page_size().max(1);
        let Some((pages, rest)) = SentPages::within(open, page_size) else {
            return;
        };
        let len = pages.len() as u64;
        match self.releaser.release(pages) {
            Ok(()) => self.report.released += len,
            Err(error) => {
                self.report.failures += 1;
                self.report.first_failure.get_or_insert(error);
            }
        }
        self.open = open.subslice(open.len() - rest..open.len());
    }
}
