//! Memory, compared page by page.
//!
//! Both sides are asked for the same pages in the order of blocks and pages, by a few threads that take one
//! piece after the other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, bail};
use serde::Serialize;
use vmferry::ram::layout::Layout;
use vmferry::ram::{BlockIndex, PageError, PageSource};

use super::change::{Change, Counts, List};
use super::piece::{Pair, pieces};
use super::sides::Sides;
use crate::args::Global;
use crate::saved::Saved;
use crate::ui::PassProgress;
use crate::view::layout::{layout, segment_of};
use crate::view::ranges::{self, Range};

/// Threads: more do not help where reading is the work.
const THREADS: usize = 4;

/// How the memory of two machines differs.
#[derive(Debug, Serialize)]
pub(super) struct MemoryDifferences {
    pub(super) page_size: u64,
    #[serde(flatten)]
    pub(super) pages: Counts,
    /// Those that are on both sides.
    pub(super) blocks: Vec<BlockDifference>,
    pub(super) added: Vec<BlockName>,
    pub(super) removed: Vec<BlockName>,
}

/// A block that is on one side only.
#[derive(Debug, Serialize)]
pub(super) struct BlockName {
    pub(super) idstr: String,
    pub(super) used_length: u64,
}

/// How one block differs.
#[derive(Debug, Serialize)]
pub(super) struct BlockDifference {
    pub(super) idstr: String,
    pub(super) old_length: u64,
    pub(super) new_length: u64,
    #[serde(flatten)]
    pub(super) pages: Counts,
    /// Where; only if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ranges: Option<Vec<Located>>,
}

/// Pages side by side that changed in one way.
#[derive(Debug, Serialize)]
pub(super) struct Located {
    /// In the block, in bytes.
    pub(super) offset: u64,
    pub(super) pages: u64,
    pub(super) kind: Change,
    /// Guest-physical, in bytes, where that is known.
    pub(super) address: Option<u64>,
}

impl MemoryDifferences {
    pub(super) fn is_empty(&self) -> bool {
        let same = |block: &BlockDifference| {
            block.old_length == block.new_length && block.pages.different() == 0
        };
        self.added.is_empty() && self.removed.is_empty() && self.blocks.iter().all(same)
    }
}

type Found = (usize, Counts, Vec<Range<Change>>);

/// Compares all memory of two machines.
pub(super) fn compare(
    global: &Global,
    old: &Saved,
    new: &Saved,
    list: List,
) -> Result<MemoryDifferences> {
    let page_size = new.page_size();
    if old.page_size() != page_size {
        let (old, new) = (old.page_size(), page_size);
        bail!("the pages of the first state have {old}, those of the second {new}");
    }
    let only = |here: &Saved, there: &Saved| {
        let blocks = here.blocks().as_slice().iter();
        let only = blocks.filter(|block| there.blocks().find(&block.idstr).is_none());
        let names = only.map(|block| BlockName {
            idstr: block.idstr.clone(),
            used_length: block.used_length,
        });
        names.collect::<Vec<_>>()
    };
    let pairs = new.blocks().iter().filter_map(|(index, block)| {
        let of_old = old.blocks().find(&block.idstr)?;
        let before = old.blocks().get(of_old)?;
        Some(Pair {
            block,
            old: of_old,
            new: index,
            old_length: before.used_length,
            pages: before.pages(page_size).min(block.pages(page_size)),
        })
    });
    let pairs: Vec<_> = pairs.collect();
    let found = all_pieces(global, old, new, list, &pairs)?;
    let blocks = pairs.iter().map(|pair| BlockDifference {
        idstr: pair.block.idstr.clone(),
        old_length: pair.old_length,
        new_length: pair.block.used_length,
        pages: Counts::default(),
        ranges: None,
    });
    let mut blocks: Vec<_> = blocks.collect();
    let mut pages = Counts::default();
    // What neither of them has is the same.
    for (pair, block) in pairs.iter().zip(&mut blocks) {
        block.pages.same_pages = pair.pages;
        pages.same_pages += pair.pages;
    }
    let mut joined = vec![Vec::new(); blocks.len()];
    for (pair, counts, ranges) in found {
        pages.add(&counts);
        blocks[pair].pages.add(&counts);
        let joined = &mut joined[pair];
        ranges
            .into_iter()
            .for_each(|range| ranges::join(joined, range));
    }
    if list == List::Ranges {
        let layout = layout(new.state(), new.blocks(), page_size).ok();
        for ((block, pair), ranges) in blocks.iter_mut().zip(&pairs).zip(joined) {
            let located =
                |range| locate(layout.as_ref(), pair.new, range, page_size.bytes() as u64);
            block.ranges = Some(ranges.into_iter().flat_map(located).collect());
        }
    }
    Ok(MemoryDifferences {
        page_size: page_size.bytes() as u64,
        pages,
        blocks,
        added: only(new, old),
        removed: only(old, new),
    })
}

/// Where a range of a block lies: in several parts, if it goes across the gap below 4 GiB.
fn locate(
    layout: Option<&Layout>,
    block: BlockIndex,
    range: Range<Change>,
    page: u64,
) -> Vec<Located> {
    let mut parts = Vec::new();
    let (mut offset, mut left) = (range.first * page, range.pages);
    while left > 0 {
        let segment = layout.and_then(|layout| segment_of(layout, block, offset));
        let pages = segment.map_or(left, |segment| {
            let rest = segment.offset + segment.len - offset;
            left.min((rest / page).max(1))
        });
        parts.push(Located {
            offset,
            pages,
            kind: range.kind,
            address: segment.map(|segment| segment.address + (offset - segment.offset)),
        });
        offset += pages * page;
        left -= pages;
    }
    parts
}

/// What was found in all pieces, in their order.
fn all_pieces(
    global: &Global,
    old: &Saved,
    new: &Saved,
    list: List,
    pairs: &[Pair<'_>],
) -> Result<Vec<Found>, PageError> {
    let pieces = pieces(old, new, pairs);
    let page = new.page_size().bytes() as u64;
    let total = pieces.iter().map(|piece| piece.pages * page).sum();
    let progress = Mutex::new(PassProgress::new(
        global.progress_style(),
        "diff",
        Some(total),
    ));
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let work = || {
        let mut side = Sides::new(old, new, list);
        let mut found = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(number) else {
                break;
            };
            match side.compare(&pairs[piece.pair], *piece) {
                Ok((counts, ranges)) => found.push((number, (piece.pair, counts, ranges))),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            let done = done.fetch_add(piece.pages, Ordering::Relaxed) + piece.pages;
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.show(done * page);
        }
        Ok(found)
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let results = thread::scope(|scope| {
        let threads = (0..cores.min(THREADS)).map(|_| scope.spawn(work));
        let threads: Vec<_> = threads.collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.collect::<Result<Vec<_>, PageError>>()
    });
    let mut found: Vec<_> = results?.into_iter().flatten().collect();
    found.sort_unstable_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, found)| found).collect())
}
