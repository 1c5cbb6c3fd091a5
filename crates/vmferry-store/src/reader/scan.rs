//! All pages of a checkpoint, in the order in which they are stored, by several threads.
//!
//! The page map says where each page is; turned around and sorted, it says which pages each frame
//! holds, so every frame is read and decompressed at most once, however mixed up the pages came when
//! they were saved. That costs sixteen bytes for each page of the packs that are worked on together.

use std::mem;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use vmferry::ram::{BlockIndex, Page, PageIndex};

use super::{Checkpoint, beyond};
use crate::error::StoreError;
use crate::map::PageAt;
use crate::pack::{Frame, IndexChunk, PackIndex, Place};

/// Pages whose places are sorted at a time, unless a single pack has more.
const PAGES_PER_PASS: u64 = 1 << 20;
/// Frames that are closer together than this are read in one go.
const READ_BYTES: usize = 1 << 20;

type Wanted<'a> = &'a (dyn Fn(BlockIndex, PageIndex) -> bool + Sync);
type Visit<'a> = &'a mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>;

/// A stored page: where it is, and which page of the guest it is.
#[derive(Clone, Copy)]
struct Target {
    place: Place,
    /// Block in the upper 16 bits, page in the lower 48.
    page: u64,
}

impl Target {
    const PAGE_BITS: u32 = 48;

    fn new(place: Place, block: BlockIndex, page: PageIndex) -> Self {
        Self {
            place,
            page: (block.0 as u64) << Self::PAGE_BITS | page.0,
        }
    }

    fn block(self) -> BlockIndex {
        BlockIndex(usize::try_from(self.page >> Self::PAGE_BITS).unwrap_or(usize::MAX))
    }

    fn page(self) -> PageIndex {
        PageIndex(self.page & ((1 << Self::PAGE_BITS) - 1))
    }
}

/// A decoded frame on its way to the visitor.
#[derive(Default)]
struct Batch {
    pages: Vec<u8>,
    /// Which of its pages are wanted, all of them verified.
    targets: Vec<Target>,
}

impl Checkpoint {
    pub(super) fn scan(&self, wanted: Wanted<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
        for packs in self.passes() {
            let targets = self.targets(&packs)?;
            if self.scan_packs(&targets, wanted, visit)?.is_break() {
                return Ok(());
            }
        }
        // Zero pages last: they cost nothing to have, and whoever fills a guest in the background
        // should spend his time on what it may have to wait for.
        let mut flow = ControlFlow::Continue(());
        self.map
            .for_each(&self.decompressors, &self.keys, |block, page, at| {
                if at == PageAt::Zero && flow.is_continue() && wanted(block, page) {
                    flow = visit(block, page, Page::Zero);
                }
                Ok(())
            })
    }

    /// Stretches of the pack list with about [`PAGES_PER_PASS`] pages each.
    fn passes(&self) -> Vec<Range<u32>> {
        let mut passes: Vec<Range<u32>> = Vec::new();
        let mut pages = PAGES_PER_PASS;
        for (number, pack) in (0..).zip(&self.manifest.packs) {
            match passes.last_mut() {
                Some(pass) if pages + pack.pages <= PAGES_PER_PASS => {
                    pass.end = number + 1;
                    pages += pack.pages;
                }
                _ => {
                    passes.push(number..number + 1);
                    pages = pack.pages;
                }
            }
        }
        passes
    }

    /// The pages in these packs in the order in which they are stored.
    fn targets(&self, packs: &Range<u32>) -> Result<Vec<Target>, StoreError> {
        let mut targets = Vec::new();
        self.map
            .for_each(&self.decompressors, &self.keys, |block, page, at| {
                if let PageAt::Stored(place) = at {
                    if packs.contains(&place.pack()) {
                        targets.push(Target::new(place, block, page));
                    }
                }
                Ok(())
            })?;
        targets.sort_unstable_by_key(|target| target.place);
        Ok(targets)
    }

    /// Shows the wanted ones of `targets`. The caller's thread does nothing but visit.
    fn scan_packs(
        &self,
        targets: &[Target],
        wanted: Wanted<'_>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let jobs = self.jobs(targets)?;
        let batches = self.workers * 8;
        let (free_in, free) = bounded(batches);
        let (full_in, full) = bounded(batches);
        for _ in 0..batches {
            let _ = free_in.send(Batch::default());
        }
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..self.workers.min(jobs.len()) {
                let worker = Worker {
                    checkpoint: self,
                    wanted,
                    free: free.clone(),
                    full: full_in.clone(),
                    stored: Vec::new(),
                };
                let (jobs, next) = (&jobs, &next);
                thread::Builder::new()
                    .name("vmferry-fill".into())
                    .spawn_scoped(scope, move || worker.run(targets, jobs, next))
                    .map_err(|error| StoreError::io("start", "a thread", error))?;
            }
            // Only the workers' ends are left, so the queue closes with the last of them. Ours are
            // moved in here: they close when this closure is left, and that ends the workers.
            drop(full_in);
            let (full, free_in) = (full, free_in);
            let page_size = self.page_size.bytes();
            for batch in &full {
                let mut batch: Batch = batch?;
                for target in &batch.targets {
                    let start = target.place.slot() * page_size;
                    let page = &batch.pages[start..start + page_size];
                    if visit(target.block(), target.page(), Page::Data(page)).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                batch.targets.clear();
                let _ = free_in.send(batch);
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Cuts sorted targets where one index chunk ends and another begins.
    fn jobs(&self, targets: &[Target]) -> Result<Vec<Range<usize>>, StoreError> {
        let mut jobs: Vec<Range<usize>> = Vec::new();
        let mut last = None;
        for (at, target) in targets.iter().enumerate() {
            let (pack, _) = self.pack(target.place.pack())?;
            let chunk = (target.place.pack(), pack.chunk_of(target.place.frame())?);
            match jobs.last_mut() {
                Some(job) if last == Some(chunk) => job.end = at + 1,
                _ => {
                    jobs.push(at..at + 1);
                    last = Some(chunk);
                }
            }
        }
        Ok(jobs)
    }
}

struct Worker<'a> {
    checkpoint: &'a Checkpoint,
    wanted: Wanted<'a>,
    free: Receiver<Batch>,
    full: Sender<Result<Batch, StoreError>>,
    stored: Vec<u8>,
}

/// The caller does not want any more.
struct Enough;

impl Worker<'_> {
    fn run(mut self, targets: &[Target], jobs: &[Range<usize>], next: &AtomicUsize) {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            match self.job(&targets[job.clone()]) {
                Ok(Ok(())) => {}
                Ok(Err(Enough)) => return,
                Err(error) => {
                    // If nobody listens, he has had an error before.
                    let _ = self.full.send(Err(error));
                    return;
                }
            }
        }
    }

    /// Decodes the frames of one index chunk.
    fn job(&mut self, targets: &[Target]) -> Result<Result<(), Enough>, StoreError> {
        let Some(first) = targets.first() else {
            return Ok(Ok(()));
        };
        let (pack, file) = self.checkpoint.pack(first.place.pack())?;
        let chunk = pack.chunk_of(first.place.frame())?;
        let index = pack.read_index(&*file, chunk, &self.checkpoint.keys)?;
        let mut frames = Vec::new();
        for of_frame in targets.chunk_by(|a, b| a.place.frame() == b.place.frame()) {
            let is_wanted = |target: &&Target| (self.wanted)(target.block(), target.page());
            let of_frame: Vec<Target> = of_frame.iter().filter(is_wanted).copied().collect();
            if let Some(target) = of_frame.first() {
                frames.push((*index.frame(target.place.frame())?, of_frame));
            }
        }
        let mut frames = frames.as_slice();
        while !frames.is_empty() {
            let together = together(frames.iter().map(|(frame, _)| frame));
            let (now, rest) = frames.split_at(together);
            let start = now[0].0.offset;
            let last = &now[together - 1].0;
            let length = last.offset + u64::from(last.stored) - start;
            let length = usize::try_from(length)
                .map_err(|_| StoreError::Unreachable("a read that is larger than memory"))?;
            let mut stored = mem::take(&mut self.stored);
            stored.resize(length, 0);
            file.read_exact_at(&mut stored, start)?;
            for (frame, targets) in now {
                let at = usize::try_from(frame.offset - start).unwrap_or(usize::MAX);
                let bytes = &stored[at..at + frame.stored as usize];
                if let Err(enough) = self.frame(pack, &index, (frame, bytes), targets)? {
                    return Ok(Err(enough));
                }
            }
            self.stored = stored;
            frames = rest;
        }
        Ok(Ok(()))
    }

    fn frame(
        &self,
        pack: &PackIndex,
        index: &IndexChunk,
        (frame, stored): (&Frame, &[u8]),
        targets: &[Target],
    ) -> Result<Result<(), Enough>, StoreError> {
        let Ok(mut batch) = self.free.recv() else {
            return Ok(Err(Enough));
        };
        let checkpoint = self.checkpoint;
        pack.decode(frame, stored, &mut batch.pages, &checkpoint.decompressors)?;
        let page_size = checkpoint.page_size.bytes();
        for target in targets {
            let slot = target.place.slot();
            let Some(page) = batch.pages.get(slot * page_size..(slot + 1) * page_size) else {
                return Err(beyond(pack, frame, target.place));
            };
            pack.verify(index, frame, slot, page, &checkpoint.keys)?;
        }
        batch.targets.extend_from_slice(targets);
        match self.full.send(Ok(batch)) {
            Ok(()) => Ok(Ok(())),
            Err(_) => Ok(Err(Enough)),
        }
    }
}

/// How many of `frames`, at least one, are read in one go: those that follow each other in the file and
/// are not too many bytes together.
fn together<'a>(frames: impl Iterator<Item = &'a Frame>) -> usize {
    let mut count = 0;
    let (mut start, mut end) = (0, 0);
    for frame in frames {
        let frame_end = frame.offset + u64::from(frame.stored);
        if count == 0 {
            start = frame.offset;
        } else if frame.offset < end || frame_end - start > READ_BYTES as u64 {
            break;
        }
        end = frame_end;
        count += 1;
    }
    count
}
