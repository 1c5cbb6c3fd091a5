//! All pages of a checkpoint, in the order in which they are stored, by several threads.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use vmferry::ram::{BlockIndex, Page, PageIndex};

use super::Checkpoint;
use super::frame::DecodedFrame;
use super::order::{Target, jobs};
use crate::error::StoreError;
use crate::map::PageAt;

/// Frames that may wait for the visitor, for each worker.
const FRAMES_PER_WORKER: usize = 8;

type Wanted<'a> = &'a (dyn Fn(BlockIndex, PageIndex) -> bool + Sync);
type Visit<'a> = &'a mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>;

/// A frame on its way to the visitor, with those of its pages that are wanted, all of them verified.
struct Batch {
    frame: Arc<DecodedFrame>,
    targets: Vec<Target>,
}

impl Checkpoint {
    pub(super) fn scan(&self, wanted: Wanted<'_>, visit: Visit<'_>) -> Result<(), StoreError> {
        for pass in self.passes()? {
            let targets = self.targets(&pass)?;
            drop(pass);
            if self.scan_targets(&targets, wanted, visit)?.is_break() {
                return Ok(());
            }
        }
        // Zero pages last: they cost nothing to have, and a thread that fills a guest in the background
        // should spend its time on what the guest may have to wait for.
        let mut flow = ControlFlow::Continue(());
        self.map
            .for_each(&self.decompressors, &self.keys, |block, page, at| {
                if at == PageAt::Zero && flow.is_continue() && wanted(block, page) {
                    flow = visit(block, page, Page::Zero);
                }
                Ok(())
            })
    }

    /// Shows the wanted ones of `targets`. The caller's thread does nothing but visit.
    fn scan_targets(
        &self,
        targets: &[Target],
        wanted: Wanted<'_>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let jobs = jobs(targets);
        let (full_in, full) = bounded(self.workers * FRAMES_PER_WORKER);
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..self.workers.min(jobs.len()) {
                let mut worker = Worker {
                    checkpoint: self,
                    wanted,
                    full: full_in.clone(),
                    stored: Vec::new(),
                };
                let (jobs, next) = (&jobs, &next);
                thread::Builder::new()
                    .name("vmferry-fill".into())
                    .spawn_scoped(scope, move || worker.run(targets, jobs, next))
                    .map_err(|error| StoreError::io("start", "a thread", error))?;
            }
            // Only the workers' ends are left, so the queue closes with the last of them. Ours is moved
            // in here: it closes when this closure is left, and that ends the workers.
            drop(full_in);
            let full = full;
            for batch in &full {
                let batch: Batch = batch?;
                for target in &batch.targets {
                    let page = batch.frame.page(target.place.slot(), &self.keys)?;
                    if visit(target.block(), target.page(), Page::Data(page)).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

struct Worker<'a> {
    checkpoint: &'a Checkpoint,
    wanted: Wanted<'a>,
    full: Sender<Result<Batch, StoreError>>,
    /// Frames as they are stored.
    stored: Vec<u8>,
}

impl Worker<'_> {
    fn run(&mut self, targets: &[Target], jobs: &[Range<usize>], next: &AtomicUsize) {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            match self.job(&targets[job.clone()]) {
                Ok(ControlFlow::Continue(())) => {}
                // The caller does not want any more.
                Ok(ControlFlow::Break(())) => return,
                Err(error) => {
                    // If nobody listens, the caller has had an error before.
                    let _ = self.full.send(Err(error));
                    return;
                }
            }
        }
    }

    /// Verifies pages of one pack and hands them on, frame by frame.
    fn job(&mut self, targets: &[Target]) -> Result<ControlFlow<()>, StoreError> {
        let Some(first) = targets.first() else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut numbers = Vec::new();
        let mut wanted = Vec::new();
        for of_frame in targets.chunk_by(|a, b| a.frame() == b.frame()) {
            let is_wanted = |target: &&Target| (self.wanted)(target.block(), target.page());
            let of_frame: Vec<Target> = of_frame.iter().filter(is_wanted).copied().collect();
            if let Some(target) = of_frame.first() {
                numbers.push(target.place.frame());
                wanted.push(of_frame);
            }
        }
        let checkpoint = self.checkpoint;
        let (pool, pack) = (&checkpoint.pool, first.place.pack());
        pool.frames(pack, &numbers, &mut self.stored, |at, frame| {
            let targets = std::mem::take(&mut wanted[at]);
            for target in &targets {
                frame.page(target.place.slot(), &checkpoint.keys)?;
            }
            // It fails when the caller has left.
            match self.full.send(Ok(Batch { frame, targets })) {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(_) => Ok(ControlFlow::Break(())),
            }
        })
    }
}
