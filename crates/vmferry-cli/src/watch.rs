//! Watching a pass over the pages of saved machines: its progress is shown, and a signal ends it.

use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use vmferry::ram::{
    BlockIndex, Page, PageError, PageIndex, PageKind, PageRange, PageSize, PageSource, RamBlocks,
};

use crate::ui::{Interrupted, Progress, ProgressStyle, Signals, Snapshot};

/// Pages after which progress is shown, and signals are looked at.
const PAGES: u64 = 1024;

/// Shows the progress of a command that reads pages, and notices signals that ask it to end.
#[derive(Debug)]
pub(crate) struct Watch {
    signals: Signals,
    seen: Mutex<Seen>,
}

/// What the command is, and what is said of what it has done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watching {
    /// `export`.
    pub(crate) command: &'static str,
    /// `exported`.
    pub(crate) done: &'static str,
}

/// What was read so far.
#[derive(Debug)]
struct Seen {
    progress: Progress,
    done: &'static str,
    snapshot: Snapshot,
    pages: u64,
    interrupted: Option<Interrupted>,
}

impl Watch {
    /// A watch over the reading of `total` bytes of memory. From now on, signals are caught.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub(crate) fn new(style: ProgressStyle, what: Watching, total: u64) -> Result<Self> {
        let mut snapshot = Snapshot::default();
        snapshot.ram.total = total;
        Ok(Self {
            signals: Signals::catch().context("cannot catch signals")?,
            seen: Mutex::new(Seen {
                progress: Progress::new(style, what.command),
                done: what.done,
                snapshot,
                pages: 0,
                interrupted: None,
            }),
        })
    }

    /// A source whose passes are watched.
    pub(crate) fn over<'a, S>(&'a self, source: &'a S) -> Watched<'a, S> {
        Watched {
            source,
            watch: self,
        }
    }

    /// Whether a signal came. A pass that was ended by one fails, for whatever reason it gives.
    ///
    /// # Errors
    /// It came.
    pub(crate) fn interrupted(&self) -> Result<(), Interrupted> {
        let interrupted = self.seen().signal(&self.signals);
        interrupted.map_or(Ok(()), Err)
    }

    /// Pages that were read in passes.
    pub(crate) fn pages(&self) -> u64 {
        self.seen().pages
    }

    /// Bytes of those that were not sent as zeros.
    pub(crate) fn data_bytes(&self) -> u64 {
        let ram = self.seen().snapshot.ram;
        ram.transferred - ram.duplicate
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, page_size: PageSize, content: Page<'_>) -> ControlFlow<()> {
        let bytes = page_size.bytes() as u64;
        let mut seen = self.seen();
        let ram = &mut seen.snapshot.ram;
        ram.transferred += bytes;
        if content == Page::Zero {
            ram.duplicate += bytes;
        }
        seen.pages += 1;
        if seen.pages % PAGES != 0 {
            return ControlFlow::Continue(());
        }
        let seen = &mut *seen;
        seen.progress.show(seen.done, &seen.snapshot);
        match seen.signal(&self.signals) {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}

impl Seen {
    /// The signal that came, now or before.
    fn signal(&mut self, signals: &Signals) -> Option<Interrupted> {
        self.interrupted = self
            .interrupted
            .or_else(|| signals.receiver().try_recv().ok());
        self.interrupted
    }
}

/// A source whose passes are watched. Pages that are asked for one by one are not counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched<'a, S> {
    source: &'a S,
    watch: &'a Watch,
}

impl<S> Watched<'_, S> {
    /// The watch over it.
    pub(crate) fn watch(&self) -> &Watch {
        self.watch
    }

    /// The end of a pass.
    fn end(&self) -> Result<(), PageError> {
        self.watch.interrupted().map_err(PageError::new)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: PageSource<Error = PageError>> PageSource for Watched<'_, S> {
    type Error = PageError;

    fn page_size(&self) -> PageSize {
        self.source.page_size()
    }

    fn blocks(&self) -> &RamBlocks {
        self.source.blocks()
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, PageError> {
        self.source.page(block, page, out)
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        let page_size = self.page_size();
        self.source.pages(wanted, &mut |block, page, content| {
            self.watch.count(page_size, content)?;
            visit(block, page, content)
        })?;
        self.end()
    }

    fn pages_of(
        &self,
        block: BlockIndex,
        pages: Range<PageIndex>,
        visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        let page_size = self.page_size();
        self.source.pages_of(block, pages, &mut |page, content| {
            self.watch.count(page_size, content)?;
            visit(page, content)
        })?;
        self.end()
    }

    fn read(
        &self,
        wanted: &mut dyn Iterator<Item = PageRange>,
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        let page_size = self.page_size();
        self.source.read(wanted, &mut |block, page, content| {
            self.watch.count(page_size, content)?;
            visit(block, page, content)
        })?;
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use vmferry::load::{Image, Visitor};
    use vmferry::ram::{Erased, RamBlock};

    use super::*;

    /// A block with more pages than pass between two looks at the signals, of which the first is zero.
    fn machine() -> Erased<Image> {
        let pages = 2 * PAGES + 1;
        let block = RamBlock {
            idstr: "a".into(),
            used_length: pages * 4096,
            host_page_size: None,
        };
        let mut image = Image::default();
        let Ok(()) = image.ram_blocks(&[block].into_iter().collect(), PageSize::X86);
        for page in 0..pages {
            let fill = u8::from(page > 0);
            let content = [fill; 4096];
            let content = match page {
                0 => Page::Zero,
                _ => Page::Data(&content),
            };
            image.put(BlockIndex(0), PageIndex(page), content);
        }
        Erased(image)
    }

    fn watch() -> Watch {
        let what = Watching {
            command: "test",
            done: "read",
        };
        Watch::new(ProgressStyle::None, what, 0).unwrap()
    }

    fn pass(source: &impl PageSource<Error = PageError>) -> Result<u64, PageError> {
        let mut shown = 0;
        source.pages(&|_, _| true, &mut |_, _, _| {
            shown += 1;
            ControlFlow::Continue(())
        })?;
        Ok(shown)
    }

    #[test]
    fn pages_are_counted_as_they_are_shown() {
        let (machine, watch) = (machine(), watch());
        assert_eq!(pass(&watch.over(&machine)).unwrap(), 2 * PAGES + 1);
        assert_eq!(watch.pages(), 2 * PAGES + 1);
        assert_eq!(watch.data_bytes(), 2 * PAGES * 4096);
        assert_eq!(watch.interrupted(), Ok(()));
        let mut room = vec![0; 4096];
        let watched = watch.over(&machine);
        watched
            .page(BlockIndex(0), PageIndex(1), &mut room)
            .unwrap();
        assert_eq!(watch.pages(), 2 * PAGES + 1);
    }

    #[test]
    fn a_signal_ends_a_pass_and_is_its_error() {
        let (machine, watch) = (machine(), watch());
        watch.seen().interrupted = Some(Interrupted(2));
        let error = pass(&watch.over(&machine)).unwrap_err();
        assert!(error.inner().is::<Interrupted>(), "{error}");
        assert_eq!(watch.pages(), PAGES);
        assert_eq!(watch.interrupted(), Err(Interrupted(2)));
        let pages = PageIndex(0)..PageIndex(2 * PAGES);
        let again = watch
            .over(&machine)
            .pages_of(BlockIndex(0), pages, &mut |_, _| ControlFlow::Continue(()));
        assert!(again.is_err());
    }
}
