//! The page map of a save in progress: eight bytes for each page of the parts of RAM that were sent.
//!
//! The last thing recorded for a page counts.

use vmferry::ram::{BlockIndex, PageIndex};

use super::CHUNK_PAGES;
use crate::pack::Place;

/// What is recorded for a page: where it will be, in terms of the save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Nothing came for it.
    Absent,
    /// It is zero.
    Zero,
    /// It is in this slot of the frame with this number (counted through the whole save).
    Frame { number: u64, slot: u16 },
    /// It is in a pack of another save, at a place that counts such packs in its own way.
    Elsewhere(Place),
}

/// One word of the map: 0 absent, 1 zero, with the uppermost bit a place elsewhere, else two more than
/// frame number and slot.
#[derive(Clone, Copy)]
struct Word(u64);

const SLOT_BITS: u32 = 12;

impl Word {
    const ABSENT: Self = Self(0);
    const ELSEWHERE: u64 = 1 << 63;

    fn new(recorded: Recorded) -> Self {
        match recorded {
            Recorded::Absent => Self::ABSENT,
            Recorded::Zero => Self(1),
            Recorded::Frame { number, slot } => Self((number << SLOT_BITS | u64::from(slot)) + 2),
            Recorded::Elsewhere(place) => Self(place.word() | Self::ELSEWHERE),
        }
    }

    fn recorded(self) -> Recorded {
        match self.0 {
            0 => Recorded::Absent,
            1 => Recorded::Zero,
            word if word & Self::ELSEWHERE != 0 => Place::from_word(word & !Self::ELSEWHERE)
                .map_or(Recorded::Absent, Recorded::Elsewhere),
            word => Recorded::Frame {
                number: (word - 2) >> SLOT_BITS,
                slot: ((word - 2) & ((1 << SLOT_BITS) - 1)) as u16,
            },
        }
    }
}

type Chunk = Box<[Word]>;

/// What was recorded for every page of every block.
#[derive(Default)]
pub(crate) struct MemoryMap {
    blocks: Vec<Block>,
}

struct Block {
    pages: u64,
    /// `None`: nothing came for any of its pages.
    chunks: Vec<Option<Chunk>>,
}

impl MemoryMap {
    /// Gives the blocks these lengths in pages; what is recorded for pages within them stays.
    pub(crate) fn set_lengths(&mut self, lengths: impl Iterator<Item = u64>) {
        for (at, pages) in lengths.enumerate() {
            if at == self.blocks.len() {
                let chunks = Vec::new();
                self.blocks.push(Block { pages: 0, chunks });
            }
            self.blocks[at].resize(pages);
        }
    }

    /// Records what came for a page, and tells what was recorded before; `None` if there is no such
    /// page.
    pub(crate) fn record(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        recorded: Recorded,
    ) -> Option<Recorded> {
        let block = self.blocks.get_mut(block.0)?;
        if page.0 >= block.pages {
            return None;
        }
        let (chunk, at) = split(page.0);
        let chunk = block.chunks[chunk]
            .get_or_insert_with(|| vec![Word::ABSENT; CHUNK_PAGES as usize].into());
        let word = &mut chunk[at];
        let before = word.recorded();
        *word = Word::new(recorded);
        Some(before)
    }

    /// The lengths of the blocks in pages.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = u64> {
        self.blocks.iter().map(|block| block.pages)
    }

    /// What is recorded for the pages of one block, chunk by chunk; `None` for a chunk of absent
    /// pages.
    pub(crate) fn chunks(
        &self,
        block: usize,
    ) -> impl Iterator<Item = (u64, Option<impl Iterator<Item = Recorded> + Clone>)> {
        let block = &self.blocks[block];
        (0_u64..).zip(&block.chunks).map(|(number, chunk)| {
            let left = block.pages - number * u64::from(CHUNK_PAGES);
            let pages = left.min(CHUNK_PAGES.into());
            let words = chunk.as_ref().map(|words| {
                let words = &words[..usize::try_from(pages).unwrap_or(words.len())];
                words.iter().map(|word| word.recorded())
            });
            (pages, words)
        })
    }
}

impl Block {
    fn resize(&mut self, pages: u64) {
        if pages < self.pages {
            let (last, at) = split(pages);
            if let Some(Some(chunk)) = self.chunks.get_mut(last) {
                chunk[at..].fill(Word::ABSENT);
            }
        }
        let chunks = pages.div_ceil(CHUNK_PAGES.into());
        self.chunks
            .resize_with(usize::try_from(chunks).unwrap_or(usize::MAX), || None);
        self.pages = pages;
    }
}

fn split(page: u64) -> (usize, usize) {
    let chunk = page / u64::from(CHUNK_PAGES);
    let at = page % u64::from(CHUNK_PAGES);
    (
        usize::try_from(chunk).unwrap_or(usize::MAX),
        usize::try_from(at).unwrap_or(usize::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(map: &MemoryMap, block: usize) -> Vec<Recorded> {
        map.chunks(block)
            .flat_map(|(pages, words)| match words {
                Some(words) => words.collect::<Vec<_>>(),
                None => vec![Recorded::Absent; usize::try_from(pages).unwrap()],
            })
            .collect()
    }

    #[test]
    fn the_last_record_of_a_page_counts_and_the_one_before_is_told() {
        let mut map = MemoryMap::default();
        map.set_lengths([3, 5000].into_iter());
        let frame = |number| Recorded::Frame { number, slot: 7 };
        let mut record = |page, what| map.record(BlockIndex(1), PageIndex(page), what);
        assert_eq!(record(4999, frame(9)), Some(Recorded::Absent));
        assert_eq!(record(4999, Recorded::Zero), Some(frame(9)));
        assert_eq!(record(4999, frame(1 << 40)), Some(Recorded::Zero));
        assert_eq!(record(5000, Recorded::Zero), None);
        assert_eq!(
            map.record(BlockIndex(2), PageIndex(0), Recorded::Zero),
            None
        );
        let pages = recorded(&map, 1);
        assert_eq!(pages.len(), 5000);
        assert_eq!(pages[4999], frame(1 << 40));
        assert!(pages[..4999].iter().all(|page| *page == Recorded::Absent));
        assert_eq!(recorded(&map, 0), [Recorded::Absent; 3]);
    }

    #[test]
    fn a_place_elsewhere_is_none_of_the_frames_of_the_save() {
        let mut map = MemoryMap::default();
        map.set_lengths([2].into_iter());
        let places = [
            Place::new(0, 0, 0),
            Place::new((1 << 20) - 1, (1 << 24) - 1, 4095),
        ];
        for (page, place) in (0..).zip(places) {
            map.record(BlockIndex(0), PageIndex(page), Recorded::Elsewhere(place));
        }
        assert_eq!(recorded(&map, 0), places.map(Recorded::Elsewhere));
    }

    #[test]
    fn a_block_that_shrinks_and_grows_has_forgotten_the_pages_in_between() {
        let mut map = MemoryMap::default();
        map.set_lengths([5000].into_iter());
        for page in [10, 4998, 4999] {
            map.record(BlockIndex(0), PageIndex(page), Recorded::Zero);
        }
        map.set_lengths([4999].into_iter());
        map.set_lengths([9000].into_iter());
        let pages = recorded(&map, 0);
        let zero: Vec<usize> = (0..9000)
            .filter(|at| pages[*at] == Recorded::Zero)
            .collect();
        assert_eq!(zero, [10, 4998]);
    }
}
