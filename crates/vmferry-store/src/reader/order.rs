//! The order in which the pages of a checkpoint are stored.
//!
//! The page map says where each page is; turned around and sorted, it says which pages each frame
//! holds, so every frame is read and decompressed at most once, however mixed up the pages came when
//! they were saved. A checkpoint of many pages is read in passes over its packs: a pass sorts sixteen
//! bytes for each of its pages, the others wait as a byte or two each, and the map is walked twice
//! however many passes there are.

use std::ops::Range;

use vmferry::ram::{BlockIndex, PageIndex};

use super::Checkpoint;
use super::frame::FrameId;
use crate::error::StoreError;
use crate::map::PageAt;
use crate::pack::Place;

/// About how many pages a worker reads at a time: a megabyte.
const JOB_PAGES: usize = 256;

/// A stored page: where it is, and which page of the guest it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) place: Place,
    page: PageNumber,
}

impl Target {
    pub(super) fn new(place: Place, block: BlockIndex, page: PageIndex) -> Self {
        Self {
            place,
            page: PageNumber::new(block, page),
        }
    }

    /// The frame that holds it.
    pub(super) fn frame(self) -> FrameId {
        self.place.into()
    }

    pub(super) fn block(self) -> BlockIndex {
        self.page.block()
    }

    pub(super) fn page(self) -> PageIndex {
        self.page.page()
    }
}

/// Block in the upper 16 bits, page in the lower 48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PageNumber(u64);

impl PageNumber {
    const PAGE_BITS: u32 = 48;

    fn new(block: BlockIndex, page: PageIndex) -> Self {
        Self((block.0 as u64) << Self::PAGE_BITS | page.0)
    }

    fn block(self) -> BlockIndex {
        BlockIndex(usize::try_from(self.0 >> Self::PAGE_BITS).unwrap_or(usize::MAX))
    }

    fn page(self) -> PageIndex {
        PageIndex(self.0 & ((1 << Self::PAGE_BITS) - 1))
    }
}

/// Pages that are read in one pass.
pub(super) enum Pass {
    /// All that are stored.
    All,
    /// These.
    Pages(PageList),
}

/// Ascending page numbers: the distances between them, seven bits to a byte.
#[derive(Debug, Default)]
pub(super) struct PageList {
    bytes: Vec<u8>,
    last: u64,
}

impl PageList {
    fn push(&mut self, page: PageNumber) {
        let mut distance = page.0 - self.last;
        self.last = page.0;
        while distance > 0x7f {
            self.bytes.push(distance.to_le_bytes()[0] | 0x80);
            distance >>= 7;
        }
        self.bytes.push(distance.to_le_bytes()[0]);
    }

    fn iter(&self) -> impl Iterator<Item = PageNumber> {
        let mut bytes = self.bytes.iter();
        let mut last = 0;
        std::iter::from_fn(move || {
            let mut shift = 0;
            loop {
                let byte = bytes.next()?;
                last += u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    return Some(PageNumber(last));
                }
            }
        })
    }
}

impl Checkpoint {
    /// The passes in which all pages are read.
    pub(super) fn passes(&self) -> Result<Vec<Pass>, StoreError> {
        let blocks = self.manifest.ram.blocks.iter();
        let stored = blocks.map(|block| block.pages.data);
        if stored.fold(0, u64::saturating_add) <= self.pass_pages {
            return Ok(vec![Pass::All]);
        }
        let mut used = vec![0; self.manifest.packs.len()];
        self.for_each_stored(|place, _, _| used[place.pack() as usize] += 1)?;
        let passes = passes_of_packs(&used, self.pass_pages);
        let mut lists: Vec<PageList> = Vec::new();
        lists.resize_with(passes.last().map_or(0, |last| last + 1), PageList::default);
        self.for_each_stored(|place, block, page| {
            let pass = passes[place.pack() as usize];
            lists[pass].push(PageNumber::new(block, page));
        })?;
        Ok(lists.into_iter().map(Pass::Pages).collect())
    }

    /// The pages of a pass in the order in which they are stored.
    pub(super) fn targets(&self, pass: &Pass) -> Result<Vec<Target>, StoreError> {
        let mut targets = Vec::new();
        match pass {
            Pass::All => self.for_each_stored(|place, block, page| {
                targets.push(Target::new(place, block, page));
            })?,
            Pass::Pages(list) => {
                for page in list.iter() {
                    if let PageAt::Stored(place) = self.place(page.block(), page.page())? {
                        targets.push(Target { place, page });
                    }
                }
            }
        }
        targets.sort_unstable_by_key(|target| target.place);
        Ok(targets)
    }

    fn for_each_stored(
        &self,
        mut visit: impl FnMut(Place, BlockIndex, PageIndex),
    ) -> Result<(), StoreError> {
        self.map
            .for_each(&self.decompressors, &self.keys, |block, page, at| {
                if let PageAt::Stored(place) = at {
                    visit(place, block, page);
                }
                Ok(())
            })
    }
}

/// For each pack the pass in which it is read, given how many of its pages are used: packs that
/// follow each other are read together while they have at most `most` of them.
fn passes_of_packs(used: &[u64], most: u64) -> Vec<usize> {
    let mut pages: u64 = 0;
    let mut pass = 0;
    let of_pack = used.iter().map(|used| {
        pages = pages.saturating_add(*used);
        if *used > 0 && pages > most && pages > *used {
            pages = *used;
            pass += 1;
        }
        pass
    });
    of_pack.collect()
}

/// Cuts sorted targets into what one worker reads at a time: some pages of one pack, and all that
/// are wanted of each frame.
pub(super) fn jobs(targets: &[Target]) -> Vec<Range<usize>> {
    let mut jobs: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    for frame in targets.chunk_by(|a, b| a.frame() == b.frame()) {
        let to = from + frame.len();
        let pack = frame[0].place.pack();
        match jobs.last_mut() {
            Some(job) if job.len() < JOB_PAGES && targets[job.start].place.pack() == pack => {
                job.end = to;
            }
            _ => jobs.push(from..to),
        }
        from = to;
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(pack: u32, frame: u32, slot: u16) -> Target {
        let page = u64::from(frame) * 16 + u64::from(slot);
        Target::new(
            Place::new(pack, frame, slot),
            BlockIndex(0),
            PageIndex(page),
        )
    }

    #[test]
    fn passes_are_cut_by_the_pages_that_are_used_and_not_by_those_that_packs_have() {
        // Four hundred packs of a long lineage, of each of which a few pages are still used.
        assert_eq!(passes_of_packs(&[100; 400], 1 << 20), [0; 400]);
        assert_eq!(passes_of_packs(&[4, 4, 4, 4], 8), [0, 0, 1, 1]);
        assert_eq!(
            passes_of_packs(&[9, 0, 0, 20, 1, 0, 7], 8),
            [0, 0, 0, 1, 2, 2, 2]
        );
        assert_eq!(passes_of_packs(&[0, 0, 9], 8), [0, 0, 0]);
        assert_eq!(passes_of_packs(&[], 8), [0; 0]);
    }

    #[test]
    fn a_list_of_pages_holds_what_was_put_in_and_takes_a_byte_for_a_neighbour() {
        let pages = [
            (0, 0),
            (0, 1),
            (0, 2),
            (0, 500),
            (0, 1 << 36),
            (1, 0),
            (4095, 7),
        ];
        let pages = pages.map(|(block, page)| PageNumber::new(BlockIndex(block), PageIndex(page)));
        let mut list = PageList::default();
        for page in pages {
            list.push(page);
        }
        let found: Vec<PageNumber> = list.iter().collect();
        assert_eq!(found, pages);
        let mut list = PageList::default();
        for page in 0..1000 {
            list.push(PageNumber::new(BlockIndex(0), PageIndex(page)));
        }
        assert_eq!(list.bytes.len(), 1000);
    }

    #[test]
    fn jobs_end_between_frames_and_with_a_pack() {
        let mut targets = Vec::new();
        for frame in 0..40 {
            targets.extend((0..16).map(|slot| target(0, frame, slot)));
        }
        targets.extend([target(1, 3, 0), target(1, 900, 5), target(2, 0, 0)]);
        assert_eq!(
            jobs(&targets),
            [0..256, 256..512, 512..640, 640..642, 642..643]
        );
        // A frame that is larger than a job is not divided.
        let large: Vec<Target> = (0..4096).map(|slot| target(0, 0, slot)).collect();
        assert_eq!(
            jobs(&large),
            [Range {
                start: 0,
                end: 4096
            }]
        );
        assert_eq!(jobs(&[]), [] as [Range<usize>; 0]);
    }
}
