//! Where each page is, in eight bytes.

use std::ops::Range;

use crate::ram::{BlockIndex, PageIndex};
use crate::work;

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It never came.
    Absent,
    /// It is zeros, and nowhere.
    Zero,
    /// In the channel of this number, at this offset.
    Channel(u8, u64),
    /// In the temporary file, in this slot.
    Spool(u64),
}

/// The places of all pages of all blocks, in chunks: room is taken only where pages have come, whatever size a
/// stream says that its blocks have.
#[derive(Debug, Default)]
pub(super) struct Places {
    blocks: Vec<Vec<Option<Box<Chunk>>>>,
    chunks: u64,
}

type Chunk = [u64; PAGES];

/// Pages of a chunk: 2 MiB of RAM.
const PAGES: usize = 512;

/// Offsets are below this: more than any file has.
pub(super) const OFFSETS: u64 = IN_CHANNEL - FIRST;

const CHANNEL_SHIFT: u32 = 55;
const IN_CHANNEL: u64 = (1 << CHANNEL_SHIFT) - 1;
const SPOOL: u64 = 1 << 63;
const ABSENT: u64 = 0;
const ZERO: u64 = 1;
/// What is added to offsets and slots, to tell them from the others.
const FIRST: u64 = 2;

impl Places {
    /// The blocks have so many pages; what is known stays.
    pub(super) fn set_lengths(&mut self, pages: impl Iterator<Item = u64>) {
        for (index, pages) in pages.enumerate() {
            if index == self.blocks.len() {
                self.blocks.push(Vec::new());
            }
            let chunks = usize::try_from(pages.div_ceil(PAGES as u64)).unwrap_or(usize::MAX);
            self.blocks[index].resize_with(chunks, || None);
        }
    }

    /// Bytes that are taken for what has come.
    pub(super) fn bytes(&self) -> u64 {
        self.chunks * size_of::<Chunk>() as u64
    }

    /// The first of these pages that may have come.
    pub(super) fn next(
        &self,
        BlockIndex(block): BlockIndex,
        pages: Range<PageIndex>,
    ) -> Option<PageIndex> {
        if pages.is_empty() {
            return None;
        }
        let (first, _) = position(pages.start.0);
        let (last, _) = position(pages.end.0 - 1);
        let chunks = self.blocks.get(block)?;
        let chunks = chunks.get(first..chunks.len().min(last.saturating_add(1)))?;
        let there = chunks.iter().position(Option::is_some);
        work::count(there.unwrap_or(chunks.len()));
        let page = pages.start.0.max(((first + there?) * PAGES) as u64);
        Some(PageIndex(page)).filter(|page| *page < pages.end)
    }

    /// How many pages of a block have come.
    pub(super) fn count(&self, BlockIndex(block): BlockIndex) -> u64 {
        let chunks = self.blocks.get(block).into_iter().flatten().flatten();
        chunks
            .map(|chunk| chunk.iter().filter(|word| **word != ABSENT).count() as u64)
            .sum()
    }

    pub(super) fn get(&self, BlockIndex(block): BlockIndex, PageIndex(page): PageIndex) -> Place {
        let (chunk, at) = position(page);
        let chunks = self.blocks.get(block);
        let chunk = chunks.and_then(|chunks| chunks.get(chunk)?.as_deref());
        match chunk.map_or(ABSENT, |chunk| chunk[at]) {
            ABSENT => Place::Absent,
            ZERO => Place::Zero,
            word if word & SPOOL != 0 => Place::Spool((word & !SPOOL) - FIRST),
            word => {
                // Below the bit of the temporary file there are eight.
                let channel = u8::try_from(word >> CHANNEL_SHIFT).unwrap_or(u8::MAX);
                Place::Channel(channel, (word & IN_CHANNEL) - FIRST)
            }
        }
    }

    pub(super) fn set(
        &mut self,
        BlockIndex(block): BlockIndex,
        PageIndex(page): PageIndex,
        place: Place,
    ) {
        let (chunk, at) = position(page);
        let chunks = self.blocks.get_mut(block);
        let Some(chunk) = chunks.and_then(|chunks| chunks.get_mut(chunk)) else {
            return;
        };
        let chunk = chunk.get_or_insert_with(|| {
            self.chunks += 1;
            Box::new([ABSENT; PAGES])
        });
        chunk[at] = match place {
            Place::Absent => ABSENT,
            Place::Zero => ZERO,
            Place::Channel(channel, offset) => {
                u64::from(channel) << CHANNEL_SHIFT | (offset + FIRST)
            }
            Place::Spool(slot) => (slot + FIRST) | SPOOL,
        };
    }
}

/// The chunk of a page, and where it is there.
fn position(page: u64) -> (usize, usize) {
    let page = usize::try_from(page).unwrap_or(usize::MAX);
    (page / PAGES, page % PAGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_only_for_pages_that_came() {
        let mut places = Places::default();
        places.set_lengths([1, 1 << 28].into_iter());
        let (first, far) = (PageIndex(0), PageIndex((1 << 28) - 1));
        for (block, page, place) in [
            (0, first, Place::Zero),
            (1, first, Place::Channel(255, OFFSETS - 1)),
            (1, far, Place::Spool(7)),
        ] {
            assert_eq!(places.get(BlockIndex(block), page), Place::Absent);
            places.set(BlockIndex(block), page, place);
            assert_eq!(places.get(BlockIndex(block), page), place);
        }
        assert_eq!(places.bytes(), 3 * 4096);
        assert_eq!(
            [0, 1, 2].map(|block| places.count(BlockIndex(block))),
            [1, 2, 0]
        );
        let next = |page, end| places.next(BlockIndex(1), PageIndex(page)..PageIndex(end));
        assert_eq!(next(3, 1 << 28), Some(PageIndex(3)));
        assert_eq!(next(512, 1 << 28), Some(PageIndex((1 << 28) - 512)));
        assert_eq!(next(1 << 28, 1 << 29), None);
        // What comes after the end is not looked at.
        let (found, work) = work::of(|| next(512, 2048));
        assert!(found.is_none() && work <= 3, "{work}");
        // There is no such page, and no such block.
        places.set(BlockIndex(0), PageIndex(512), Place::Zero);
        places.set(BlockIndex(2), first, Place::Zero);
        assert_eq!(places.get(BlockIndex(2), first), Place::Absent);
    }
}
