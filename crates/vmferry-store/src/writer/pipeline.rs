//! The threads of a save: from pages as they come to packs.
//!
//! ```text
//!          batches           hashed             frames            compressed           full
//! feeder ──────────► workers ──────► collector ────────► workers ──────────► packer ────────► sealer
//!    ▲           hash, look up    │     in order        compress     │        in order         sync
//!    └─────── empty batches ──────┘       ▲                          │
//!                                         └────── empty frames ──────┘
//! ```
//!
//! The workers are the same threads both times. Every queue is bounded, because there is a fixed number
//! of batches and of frames, and each queue has room for all of them: nobody waits to hand something
//! on, but only for something to do or for an empty buffer. Closing a queue is how work ends. A thread that
//! fails reports why ([`Failure`]: the first error wins) and ends, which closes its queues, and that ends
//! the others.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::batch::{Batch, Frame};
use super::collector::{Collector, Filling};
use super::packer::{Packed, Packer};
use super::parameters::{Parameters, Surroundings};
use super::progress::Progress;
use super::thread::{Ended, Failure, PANICKED, spawn};
use super::worker::Worker;
use crate::error::StoreError;
use crate::map::MemoryMap;

/// Pages that may be on their way for each worker, half of them in batches and half in frames. Packs are
/// filled in order, so a worker that is not given a core for some milliseconds holds up the others
/// once all frames are queued after its own: on a busy machine twelve frames in all were too few (0.7 of the speed
/// of `zstd -1 -T2`).
const QUEUE_BYTES_PER_WORKER: usize = 8 << 20;
/// Pages that may be on their way on a machine of many cores; compressed, they take as much again.
const MAX_QUEUE_BYTES: usize = 64 << 20;

/// The threads, seen from the one that feeds them.
pub(super) struct Pipeline {
    batches: Option<Sender<Batch>>,
    empty: Receiver<Batch>,
    workers: Vec<JoinHandle<()>>,
    collector: Option<JoinHandle<MemoryMap>>,
    packer: Option<JoinHandle<Result<Packed, Ended>>>,
    progress: Arc<Progress>,
    failure: Arc<Failure>,
    next: u64,
}

/// What came out of a save.
pub(super) struct Collected {
    pub(super) map: MemoryMap,
    pub(super) packed: Packed,
}

impl Pipeline {
    /// Starts the threads.
    pub(super) fn start(
        parameters: Parameters,
        surroundings: &Surroundings,
    ) -> Result<Self, StoreError> {
        let bytes = parameters.frame_pages as usize * parameters.page_size as usize;
        let queue = (parameters.workers * QUEUE_BYTES_PER_WORKER).min(MAX_QUEUE_BYTES);
        // So many batches, and so many frames.
        let count = (queue / bytes / 2).max(parameters.workers * 2 + 2);
        // A worker that fails says so in a message more.
        let count_and_failures = count + parameters.workers;
        let (batches_in, batches) = bounded(count);
        let (hashed_in, hashed) = bounded(count_and_failures);
        let (empty_batches_in, empty_batches) = filled(count);
        let (frames_in, frames) = bounded(count);
        let (compressed_in, compressed) = bounded(count_and_failures);
        let (empty_frames_in, empty_frames) = filled::<Frame>(count);
        let failure = Arc::new(Failure::default());
        let worker = || Worker {
            parameters,
            keys: Arc::clone(&surroundings.keys),
            known: Arc::clone(&surroundings.known),
            failure: Arc::clone(&failure),
            batches: batches.clone(),
            hashed: Some(hashed_in.clone()),
            frames: frames.clone(),
            compressed: compressed_in.clone(),
        };
        let workers: Vec<Worker> = (0..parameters.workers).map(|_| worker()).collect();
        // Only the workers' ends are left: a queue closes when they do.
        drop((batches, hashed_in, frames, compressed_in));
        let collector = Collector {
            parameters,
            progress: Arc::clone(&surroundings.progress),
            failure: Arc::clone(&failure),
            hashed,
            empty_batches: empty_batches_in,
            empty_frames,
            frames: frames_in,
            filling: Filling::default(),
        };
        let packer = Packer::new(parameters, surroundings, Arc::clone(&failure));
        let mut pipeline = Self {
            batches: Some(batches_in),
            empty: empty_batches,
            workers: Vec::new(),
            collector: None,
            packer: None,
            progress: Arc::clone(&surroundings.progress),
            failure,
            next: 0,
        };
        let collect = move || collector.run(count);
        let pack = move || packer.run(&compressed, &empty_frames_in, count);
        pipeline.launch(workers, collect, pack)?;
        Ok(pipeline)
    }

    /// A function of its own, so that what could not be started has let go of its queues before the
    /// pipeline is dropped, which waits for what has been started.
    fn launch(
        &mut self,
        workers: Vec<Worker>,
        collect: impl FnOnce() -> MemoryMap + Send + 'static,
        pack: impl FnOnce() -> Result<Packed, Ended> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.collector = Some(spawn("vmferry-collect", collect)?);
        self.packer = Some(spawn("vmferry-pack", pack)?);
        for worker in workers {
            let worker = spawn("vmferry-compress", move || worker.run())?;
            self.workers.push(worker);
        }
        Ok(())
    }

    /// An empty batch; waits while all of them are on their way.
    pub(super) fn batch(&mut self) -> Result<Batch, StoreError> {
        let Ok(mut batch) = self.empty.recv() else {
            return Err(self.failure());
        };
        batch.reset(self.next);
        self.next += 1;
        Ok(batch)
    }

    /// Hands a batch on.
    pub(super) fn submit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.progress.queue();
        match &self.batches {
            Some(batches) if !self.failure.is_set() && batches.send(batch).is_ok() => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Waits until everything is in packs, and these are durable.
    pub(super) fn finish(mut self) -> Result<Collected, StoreError> {
        match self.join() {
            Some(collected) => Ok(collected),
            None => Err(self.failure()),
        }
    }

    /// Why the save has failed.
    fn failure(&mut self) -> StoreError {
        let _ = self.join();
        let failure = self.failure.take();
        failure.unwrap_or(StoreError::Unreachable(
            "the packer ended before the save did",
        ))
    }

    /// Ends the threads, and gives what they made unless one of them has failed.
    fn join(&mut self) -> Option<Collected> {
        self.batches = None;
        let mut panicked = false;
        for worker in self.workers.drain(..) {
            panicked |= worker.join().is_err();
        }
        let map = self.collector.take().map(JoinHandle::join);
        let packed = self.packer.take().map(JoinHandle::join);
        if panicked || matches!(map, Some(Err(_))) || matches!(packed, Some(Err(_))) {
            self.failure.set(PANICKED);
        }
        match (map, packed) {
            (Some(Ok(map)), Some(Ok(Ok(packed)))) if !self.failure.is_set() => {
                Some(Collected { map, packed })
            }
            _ => None,
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Without this the packer would make durable what nobody wants.
        self.failure.set(StoreError::AlreadyFailed);
        let _ = self.join();
    }
}

/// A queue with `count` empty buffers in it.
fn filled<T: Default>(count: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = bounded(count);
    for _ in 0..count {
        // There is room for exactly these.
        let _ = sender.send(T::default());
    }
    (sender, receiver)
}
