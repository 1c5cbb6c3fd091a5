//! A saved state that can be asked for any page.

use std::ops::ControlFlow;

use super::{BlockIndex, PageIndex, PageSize, RamBlocks};

/// The content of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page<'a> {
    /// All bytes are zero.
    Zero,
    /// These bytes, exactly one target page.
    Data(&'a [u8]),
}

/// What a page that was asked for turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// The source never sent it (unplugged virtio-mem, hinted free): it must not be sent on.
    Absent,
    /// All bytes are zero; the output buffer was left alone.
    Zero,
    /// The output buffer holds it.
    Data,
}

/// Guest RAM at rest, by block and page: a checkpoint, or an index made from a stream.
///
/// Implementations verify what they hand out: a page that is returned is the page that was saved.
pub trait PageSource: Sync {
    /// Why a page could not be had.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The size of its target pages.
    fn page_size(&self) -> PageSize;

    /// Its RAM blocks, in the order in which the stream listed them.
    fn blocks(&self) -> &RamBlocks;

    /// Reads one page into `out`, which is exactly one target page long.
    ///
    /// # Errors
    /// The page is damaged, or its storage could not be read.
    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, Self::Error>;

    /// Shows every page that is not absent and for which `wanted` says yes, each once, in the
    /// order that is cheapest to read. `visit` ends the walk with [`ControlFlow::Break`].
    ///
    /// `wanted` is asked before a page is fetched, possibly some time before it is shown and from
    /// another thread.
    ///
    /// # Errors
    /// A page is damaged, or its storage could not be read.
    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;
}
