//! Which pages have come: a bit for each, in pieces that are made when they are needed.
//!
//! A stream may name any page of thousands of blocks of 4 PiB, so the pieces are bounded as a whole: beyond
//! that, nothing is counted any more.

use std::collections::HashMap;

use vmferry::ram::{BlockIndex, PageIndex};

/// Pages of one piece: 4 KiB of bits.
const PIECE: u64 = 1 << 15;

/// Words of one piece.
const WORDS: usize = (PIECE / 64) as usize;

/// The most pieces of all blocks: 64 MiB, the bits of 2 TiB of memory.
const PIECES: usize = 1 << 14;

/// Which pages have come.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pieces: HashMap<(usize, u64), Box<[u64; WORDS]>>,
    /// For each block, how many.
    counts: Vec<u64>,
    overflow: bool,
}

impl Seen {
    pub(super) fn add(&mut self, BlockIndex(block): BlockIndex, PageIndex(page): PageIndex) {
        if self.overflow {
            return;
        }
        let (piece, bit) = ((block, page / PIECE), page % PIECE);
        if self.pieces.len() == PIECES && !self.pieces.contains_key(&piece) {
            self.overflow = true;
            self.pieces.clear();
            return;
        }
        if self.counts.len() <= block {
            self.counts.resize(block + 1, 0);
        }
        let words = self.pieces.entry(piece);
        let words = words.or_insert_with(|| Box::new([0; WORDS]));
        let word = &mut words[(bit / 64) as usize];
        let mask = 1 << (bit % 64);
        self.counts[block] += u64::from(*word & mask == 0);
        *word |= mask;
    }

    /// How many different pages of a block came; `None` if that was not counted to the end.
    pub(super) fn count(&self, block: BlockIndex) -> Option<u64> {
        let count = self.counts.get(block.0).copied().unwrap_or_default();
        (!self.overflow).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_once_however_often_it_comes() {
        let mut seen = Seen::default();
        for page in [0, 1, PIECE, 0, PIECE - 1, PIECE, u64::MAX] {
            seen.add(BlockIndex(2), PageIndex(page));
        }
        seen.add(BlockIndex(1), PageIndex(0));
        let counts = [0, 1, 2, 3].map(|block| seen.count(BlockIndex(block)));
        assert_eq!(counts, [Some(0), Some(1), Some(5), Some(0)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut seen = Seen::default();
        for piece in 0..=PIECES {
            assert!(seen.count(BlockIndex(0)).is_some());
            let page = (piece / 2) as u64 * PIECE;
            seen.add(BlockIndex(piece % 2), PageIndex(page));
        }
        assert_eq!(seen.count(BlockIndex(0)), None);
        assert!(seen.pieces.is_empty());
    }
}
