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

/// Some pages of one RAM block that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRange {
    /// The block.
    pub block: BlockIndex,
    /// Its pages.
    pub pages: Range<PageIndex>,
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

    /// Shows the pages of the ranges that `wanted` gives, in their order, but for those that are absent.
    /// `visit` ends the walk with [`ControlFlow::Break`].
    ///
    /// This is how a caller decides what is read next: pages in the order in which a guest once used them, the
    /// neighbours of what it has just asked for, or nothing for a while. A range is taken from `wanted` when the
    /// pages before it have been shown, so `wanted` may wait. A source may take so many ranges earlier as the lower
    /// bound of [`Iterator::size_hint`] promises, to read them together; the one here takes one at a time.
    ///
    /// # Errors
    /// A page is damaged, or its storage could not be read.
    fn read(
        &self,
        wanted: &mut dyn Iterator<Item = PageRange>,
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Self::Error> {
        let mut flow = ControlFlow::Continue(());
        for PageRange { block, pages } in wanted {
            self.pages_of(block, pages, &mut |page, content| {
                flow = visit(block, page, content);
                flow
            })?;
            if flow.is_break() {
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

            fn read(
                &self,
                wanted: &mut dyn Iterator<Item = PageRange>,
                visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
            ) -> Result<(), P::Error> {
                (**self).read(wanted, visit)
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Page 3 of each block is absent, page 0 is zero, all others hold their number.
    struct Numbers(RamBlocks);

    impl PageSource for Numbers {
        type Error = Infallible;

        fn page_size(&self) -> PageSize {
            PageSize::MIN
        }

        fn blocks(&self) -> &RamBlocks {
            &self.0
        }

        fn page(
            &self,
            _: BlockIndex,
            page: PageIndex,
            out: &mut [u8],
        ) -> Result<PageKind, Infallible> {
            out.fill(page.0.to_le_bytes()[0]);
            Ok(match page.0 {
                0 => PageKind::Zero,
                3 => PageKind::Absent,
                _ => PageKind::Data,
            })
        }

        fn pages(
            &self,
            _: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
            _: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
        ) -> Result<(), Infallible> {
            Ok(())
        }
    }

    #[test]
    fn a_source_that_reads_page_by_page_shows_ranges_in_the_order_in_which_they_are_asked_for() {
        let source = Numbers(RamBlocks::default());
        let range = |block, from, to| PageRange {
            block: BlockIndex(block),
            pages: PageIndex(from)..PageIndex(to),
        };
        let ranges = [
            range(1, 4, 6),
            range(0, 0, 5),
            range(0, 2, 2),
            range(1, 4, 5),
        ];
        let shown_of = |most: usize| {
            let mut shown = Vec::new();
            let Ok(()) = source.read(
                &mut ranges.clone().into_iter(),
                &mut |block, page, content| {
                    match content {
                        Page::Zero => assert_eq!(page.0, 0),
                        Page::Data(data) => assert_eq!(data, [page.0.to_le_bytes()[0]; 1024]),
                    }
                    shown.push((block.0, page.0));
                    match shown.len() < most {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                },
            );
            shown
        };
        let all = [(1, 4), (1, 5), (0, 0), (0, 1), (0, 2), (0, 4), (1, 4)];
        assert_eq!(shown_of(usize::MAX), all);
        for most in 1..all.len() {
            assert_eq!(shown_of(most), all[..most]);
        }
    }
}
