//! The memory that both sides have, in pieces.

use vmferry::ram::{BlockIndex, PageIndex, RamBlock};

use crate::saved::Saved;

/// Pages of one piece.
const PIECE: u64 = 512;

/// A block that is on both sides.
pub(super) struct Pair<'a> {
    pub(super) block: &'a RamBlock,
    pub(super) old: BlockIndex,
    pub(super) new: BlockIndex,
    pub(super) old_length: u64,
    /// Pages that are on both sides.
    pub(super) pages: u64,
}

/// A part of a block.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) pair: usize,
    pub(super) first: u64,
    pub(super) pages: u64,
}

/// Those pieces of all blocks in which one of the two may have a page: a file may say that a block is far larger than
/// what it has of it.
pub(super) fn pieces(old: &Saved, new: &Saved, pairs: &[Pair<'_>]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, pair) in pairs.iter().enumerate() {
        let mut from = 0;
        loop {
            let in_old = old.next_page(pair.old, PageIndex(from));
            let in_new = new.next_page(pair.new, PageIndex(from));
            let next = in_old.into_iter().chain(in_new).min();
            let Some(PageIndex(page)) = next.filter(|page| page.0 < pair.pages) else {
                break;
            };
            let first = page - page % PIECE;
            from = first + PIECE;
            pieces.push(Piece {
                pair: number,
                first,
                pages: PIECE.min(pair.pages - first),
            });
        }
    }
    pieces
}
