//! A saved machine whose pages are counted as they are read, until a signal asks to stop.

use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlocks};

use crate::saved::{Saved, SavedError};
use crate::ui::{Interrupted, Progress, ProgressStyle, Signals, Snapshot};

/// Pages after which progress is shown, and signals are looked at.
const PAGES: u64 = 1024;

/// A saved machine, watched while it is read.
pub(super) struct Watched<'a> {
    saved: &'a Saved,
    watch: Mutex<Watch>,
}

struct Watch {
    progress: Progress,
    signals: Signals,
    snapshot: Snapshot,
    pages: u64,
    interrupted: Option<Interrupted>,
}

/// Why a page could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchedError {
    #[error(transparent)]
    Saved(#[from] SavedError),
    #[error(transparent)]
    Interrupted(Interrupted),
}

impl<'a> Watched<'a> {
    pub(super) fn new(saved: &'a Saved, style: ProgressStyle) -> Result<Self> {
        let mut snapshot = Snapshot::default();
        snapshot.ram.total = saved.blocks().total_length();
        Ok(Self {
            saved,
            watch: Mutex::new(Watch {
                progress: Progress::new(style, "convert"),
                signals: Signals::catch()?,
                snapshot,
                pages: 0,
                interrupted: None,
            }),
        })
    }

    /// Pages that were read.
    pub(super) fn finish(self) -> u64 {
        let watch = self.watch.into_inner();
        watch.unwrap_or_else(PoisonError::into_inner).pages
    }

    /// Whether a signal came.
    ///
    /// # Errors
    /// It came.
    pub(super) fn interrupted(&self) -> Result<(), Interrupted> {
        let watch = self.watch();
        let came = watch.signals.receiver().try_recv().ok();
        watch.interrupted.or(came).map_or(Ok(()), Err)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn count(&mut self, page_len: u64, content: Page<'_>) -> ControlFlow<()> {
        let ram = &mut self.snapshot.ram;
        ram.transferred += page_len;
        if content == Page::Zero {
            ram.duplicate += page_len;
        }
        self.pages += 1;
        if self.pages % PAGES != 0 {
            return ControlFlow::Continue(());
        }
        self.progress.show("converted", &self.snapshot);
        self.interrupted = self.signals.receiver().try_recv().ok();
        match self.interrupted {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl PageSource for Watched<'_> {
    type Error = WatchedError;

    fn page_size(&self) -> PageSize {
        self.saved.page_size()
    }

    fn blocks(&self) -> &RamBlocks {
        self.saved.blocks()
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, WatchedError> {
        Ok(self.saved.page(block, page, out)?)
    }

    fn pages_of(
        &self,
        block: BlockIndex,
        pages: Range<PageIndex>,
        visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), WatchedError> {
        let page_len = self.page_size().bytes() as u64;
        self.saved.pages_of(block, pages, &mut |page, content| {
            // Several threads may read at once, so the watch is not held while one of them does.
            self.watch().count(page_len, content)?;
            visit(page, content)
        })?;
        let interrupted = self.watch().interrupted;
        interrupted.map_or(Ok(()), |signal| Err(WatchedError::Interrupted(signal)))
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), WatchedError> {
        let page_len = self.page_size().bytes() as u64;
        let mut watch = self.watch();
        self.saved.pages(wanted, &mut |block, page, content| {
            watch.count(page_len, content)?;
            visit(block, page, content)
        })?;
        watch
            .interrupted
            .map_or(Ok(()), |signal| Err(WatchedError::Interrupted(signal)))
    }
}
