//! Something that is everything that can stand behind a pointer, and notes what it is asked for.

use std::convert::Infallible;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use vmferry::channel::{
    Capabilities, Interest, ReadChannel, Segment, SegmentMut, Shutdown, Ticket, WriteChannel,
};
use vmferry::load::{Assumption, Bitmap, Element, MappedPages, Origin, Visitor};
use vmferry::machine::{Configuration, DeviceSection};
use vmferry::postcopy::Observer;
use vmferry::ram::{
    BlockIndex, Page, PageIndex, PageKind, PageRange, PageSize, PageSource, RamBlocks,
};
use vmferry::stream::{
    HookedPage, LoadEvent, RamHooks, RamPhase, Result as StreamResult, SavePage,
};
use vmferry::wire::dirty_bitmap::Content;

/// Notes which of its methods are called; all are its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn note(&self, method: &'static str) {
        self.0.lock().unwrap().push(method);
    }

    pub(crate) fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl WriteChannel for Log {
    fn write_segments(&mut self, _: &[Segment<'_>]) -> io::Result<usize> {
        self.note("write_segments");
        Ok(0)
    }

    fn write_segments_at(&mut self, _: &[Segment<'_>], _: u64) -> io::Result<usize> {
        self.note("write_segments_at");
        Ok(0)
    }

    fn write_segments_later(&mut self, _: &[Segment<'_>]) -> io::Result<(usize, Ticket)> {
        self.note("write_segments_later");
        Ok((0, Ticket(0)))
    }

    fn completed(&mut self) -> io::Result<Ticket> {
        self.note("completed");
        Ok(Ticket(0))
    }

    fn copied_anyway(&self) -> u64 {
        self.note("copied_anyway");
        0
    }

    fn send_descriptor(&mut self, _: u8, _: BorrowedFd<'_>) -> io::Result<()> {
        self.note("send_descriptor");
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.note("flush");
        Ok(())
    }

    fn wait(&mut self, _: Interest, _: Option<Duration>) -> io::Result<()> {
        self.note("wait");
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.note("capabilities");
        Capabilities::default()
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        self.note("shutdown_handle");
        None
    }

    fn close(&mut self) -> io::Result<()> {
        self.note("close");
        Ok(())
    }
}

impl ReadChannel for Log {
    fn read_segments(&mut self, _: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        self.note("read_segments");
        Ok(0)
    }

    fn read_segments_at(&mut self, _: &mut [SegmentMut<'_>], _: u64) -> io::Result<usize> {
        self.note("read_segments_at");
        Ok(0)
    }

    fn read_with_descriptors(&mut self, _: &mut [u8], _: &mut Vec<OwnedFd>) -> io::Result<usize> {
        self.note("read_with_descriptors");
        Ok(0)
    }

    fn skip(&mut self, _: u64) -> io::Result<bool> {
        self.note("skip");
        Ok(true)
    }

    fn read_ahead(&self) -> usize {
        self.note("read_ahead");
        0
    }

    fn expect_end(&mut self) {
        self.note("expect_end");
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<()> {
        self.note("wait");
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.note("capabilities");
        Capabilities::default()
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        self.note("shutdown_handle");
        None
    }
}

impl Visitor for Log {
    type Error = Infallible;

    fn configuration(&mut self, _: &Configuration) -> Result<(), Infallible> {
        self.note("configuration");
        Ok(())
    }

    fn ram_blocks(&mut self, _: &RamBlocks, _: PageSize) -> Result<(), Infallible> {
        self.note("ram_blocks");
        Ok(())
    }

    fn page(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        self.note("page");
        Ok(())
    }

    fn mapped_block(
        &mut self,
        _: BlockIndex,
        _: &Bitmap,
        _: u64,
    ) -> Result<MappedPages, Infallible> {
        self.note("mapped_block");
        Ok(MappedPages::Skip)
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        self.note("differences");
        Ok(())
    }

    fn device(&mut self, _: &DeviceSection<'_>) -> Result<(), Infallible> {
        self.note("device");
        Ok(())
    }

    fn vmdesc(&mut self, _: &[u8]) -> Result<(), Infallible> {
        self.note("vmdesc");
        Ok(())
    }

    fn dirty_bitmap(&mut self, _: &str, _: &str, _: &Content) -> Result<(), Infallible> {
        self.note("dirty_bitmap");
        Ok(())
    }

    fn element(&mut self, _: &Element<'_>) -> Result<(), Infallible> {
        self.note("element");
        Ok(())
    }

    fn assumption(&mut self, _: &Assumption) -> Result<(), Infallible> {
        self.note("assumption");
        Ok(())
    }
}

impl PageSource for Log {
    type Error = Infallible;

    fn page_size(&self) -> PageSize {
        self.note("page_size");
        PageSize::X86
    }

    fn blocks(&self) -> &RamBlocks {
        self.note("blocks");
        static NONE: LazyLock<RamBlocks> = LazyLock::new(RamBlocks::default);
        &NONE
    }

    fn page(&self, _: BlockIndex, _: PageIndex, _: &mut [u8]) -> Result<PageKind, Infallible> {
        self.note("page");
        Ok(PageKind::Zero)
    }

    fn pages(
        &self,
        _: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        _: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        self.note("pages");
        Ok(())
    }

    fn pages_of(
        &self,
        _: BlockIndex,
        _: Range<PageIndex>,
        _: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        self.note("pages_of");
        Ok(())
    }

    fn read(
        &self,
        _: &mut dyn Iterator<Item = PageRange>,
        _: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        self.note("read");
        Ok(())
    }
}

impl Observer for Log {
    fn package_sent(&self) {
        self.note("package_sent");
    }

    fn requested(&self, _: BlockIndex, _: PageIndex) {
        self.note("requested");
    }

    fn answered(&self) {
        self.note("answered");
    }

    fn all_sent(&self) {
        self.note("all_sent");
    }
}

impl RamHooks<()> for Log {
    fn before_iterate(&mut self, (): &mut (), _: RamPhase) -> StreamResult<()> {
        self.note("before_iterate");
        Ok(())
    }

    fn after_iterate(&mut self, (): &mut (), _: RamPhase) -> StreamResult<()> {
        self.note("after_iterate");
        Ok(())
    }

    fn load(&mut self, (): &mut (), _: LoadEvent<'_>) -> StreamResult<bool> {
        self.note("load");
        Ok(true)
    }

    fn save_page(&mut self, (): &mut (), _: HookedPage) -> StreamResult<SavePage> {
        self.note("save_page");
        Ok(SavePage::Delayed)
    }
}
