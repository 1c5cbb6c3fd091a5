//! A saved state that can be asked for any page.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

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

    /// Shows every page of `pages`, in `block`, that is not absent, each once and in their order. `visit` ends
    /// the walk with [`ControlFlow::Break`].
    ///
    /// A source that reads several pages at once as fast as one has its own way; the one here reads page by page.
    ///
    /// # Errors
    /// A page is damaged, or its storage could not be read.
    fn pages_of(
        &self,
        block: BlockIndex,
        pages: Range<PageIndex>,
        visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Self::Error> {
        let mut room = vec![0; self.page_size().bytes()];
        for page in (pages.start.0..pages.end.0).map(PageIndex) {
            let content = match self.page(block, page, &mut room)? {
                PageKind::Absent => continue,
                PageKind::Zero => Page::Zero,
                PageKind::Data => Page::Data(&room),
            };
            if visit(page, content).is_break() {
                break;
            }
        }
        Ok(())
    }
}

macro_rules! forward {
    ($($pointer:ty: $($bound:path),*;)*) => {$(
        /// Forwards everything, also what has a default.
        #[deny(clippy::missing_trait_methods)]
        impl<P: PageSource + ?Sized $(+ $bound)*> PageSource for $pointer {
            type Error = P::Error;

            fn page_size(&self) -> PageSize {
                (**self).page_size()
            }

            fn blocks(&self) -> &RamBlocks {
                (**self).blocks()
            }

            fn page(
                &self,
                block: BlockIndex,
                page: PageIndex,
                out: &mut [u8],
            ) -> Result<PageKind, P::Error> {
                (**self).page(block, page, out)
            }

            fn pages(
                &self,
                wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
                visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
            ) -> Result<(), P::Error> {
                (**self).pages(wanted, visit)
            }

            fn pages_of(
                &self,
                block: BlockIndex,
                pages: Range<PageIndex>,
                visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
            ) -> Result<(), P::Error> {
                (**self).pages_of(block, pages, visit)
            }
        }
    )*};
}

forward! {
    &P: ;
    &mut P: ;
    Box<P>: ;
    Arc<P>: Send;
}
