//! Which host pages are taken: one bit each, set once, by the thread that sends the page, when it has the channel.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::HostPages;
use crate::ram::{BlockIndex, PageIndex, PageSize, PageSource};

/// The host pages of all blocks. A host page is the unit in which a destination asks for memory and
/// in which it arrives; on ordinary memory it is one target page.
#[derive(Debug)]
pub(super) struct Claims {
    blocks: Vec<Block>,
    page_size: PageSize,
}

#[derive(Debug)]
struct Block {
    /// Target pages in the block.
    pages: u64,
    /// log2 of the number of target pages in one host page.
    shift: u32,
    taken: Vec<AtomicU64>,
}

impl Claims {
    pub(super) fn new(source: &impl PageSource, host_pages: &HostPages) -> Self {
        let page_size = source.page_size();
        let blocks = source.blocks().iter().map(|(index, block)| {
            let pages = block.pages(page_size);
            let per_host_page = host_pages.of(index) >> page_size.bits();
            let shift = per_host_page.max(1).ilog2();
            let words = (pages >> shift).saturating_add(1).div_ceil(64);
            Block {
                pages,
                shift,
                taken: (0..words).map(|_| AtomicU64::new(0)).collect(),
            }
        });
        Self {
            blocks: blocks.collect(),
            page_size,
        }
    }

    /// Bytes of one host page of a block.
    pub(super) fn host_page_bytes(&self, block: BlockIndex) -> u64 {
        let shift = self.blocks.get(block.0).map_or(0, |block| block.shift);
        (self.page_size.bytes() as u64) << shift
    }

    /// Whether the host pages of a block are larger than its target pages.
    pub(super) fn is_grouped(&self, block: BlockIndex) -> bool {
        self.blocks
            .get(block.0)
            .is_some_and(|block| block.shift > 0)
    }

    /// The target pages that arrive together with `page`.
    pub(super) fn group(&self, block: BlockIndex, page: PageIndex) -> Range<u64> {
        let Some(block) = self.blocks.get(block.0) else {
            return 0..0;
        };
        let first = page.0 >> block.shift << block.shift;
        first..(first + (1 << block.shift)).min(block.pages)
    }

    /// The first target page of each host page of a block.
    pub(super) fn host_pages(&self, block: BlockIndex) -> impl Iterator<Item = PageIndex> + use<> {
        let (pages, shift) = self
            .blocks
            .get(block.0)
            .map_or((0, 0), |block| (block.pages, block.shift));
        (0..pages).step_by(1 << shift).map(PageIndex)
    }

    /// Whether somebody has taken the host page with this page.
    #[inline]
    pub(super) fn is_taken(&self, block: BlockIndex, page: PageIndex) -> bool {
        self.word(block, page)
            .is_none_or(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Takes the host page with this page: true for the one caller that sends it, and does so before it gives the
    /// channel back.
    #[inline]
    pub(super) fn take(&self, block: BlockIndex, page: PageIndex) -> bool {
        self.word(block, page)
            .is_some_and(|(word, bit)| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    #[inline]
    fn word(&self, block: BlockIndex, page: PageIndex) -> Option<(&AtomicU64, u64)> {
        let block = self.blocks.get(block.0)?;
        let host_page = page.0 >> block.shift;
        let word = block.taken.get(usize::try_from(host_page / 64).ok()?)?;
        Some((word, 1 << (host_page % 64)))
    }
}
