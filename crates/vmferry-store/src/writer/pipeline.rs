//! The threads of a save: from frames of pages to packs.
//!
//! ```text
//!            work                 done                 full
//! caller ──────────► workers ──────────► packer ──────────► sealer
//!    ▲               hash, compress       append, in order    sync
//!    └──────────────── empty frames ─────────┘
//! ```
//!
//! Every queue is bounded, because there is a fixed number of frames in all of them together. Closing
//! a queue is how work ends. Any error ends the packer, which is what the caller notices, and is the
//! packer's result: the first error wins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::packer::{Packed, Packer};
use super::progress::Progress;
use crate::backend::Session;
use crate::codec::{Codec, Compressor};
use crate::digest::{Digest, Keys};
use crate::error::StoreError;

/// Pages that may be on their way for each worker. Packs are filled in order, so a worker that is not
/// given a core for some milliseconds holds up the others when all frames wait behind his: on a busy
/// machine twelve frames in all were too few (0.7 of the speed of `zstd -1 -T2`).
const QUEUE_BYTES_PER_WORKER: usize = 8 << 20;
/// Pages that may be on their way on a machine of many cores; compressed, they take as much again.
const MAX_QUEUE_BYTES: usize = 64 << 20;

/// Some pages on their way into a pack. Buffers are reused: nothing is allocated for a page.
pub(super) struct Frame {
    /// Its number in the save.
    pub(super) number: u64,
    /// Its pages.
    pub(super) raw: Vec<u8>,
    pub(super) digests: Vec<Digest>,
    pub(super) codec: Codec,
    /// The pages compressed; of no meaning with [`Codec::Raw`].
    pub(super) compressed: Vec<u8>,
}

/// How a save is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters {
    pub(super) page_size: u32,
    pub(super) frame_pages: u32,
    pub(super) zstd_level: i32,
    pub(super) pack_bytes: u64,
    pub(super) workers: usize,
}

/// The threads, seen from the one that feeds them.
pub(super) struct Pipeline {
    work: Option<Sender<Frame>>,
    empty: Receiver<Frame>,
    workers: Vec<JoinHandle<()>>,
    packer: Option<JoinHandle<Result<Packed, StoreError>>>,
    progress: Arc<Progress>,
    abandoned: Arc<AtomicBool>,
    frame_bytes: usize,
    next: u64,
}

/// What a worker has to tell the packer.
pub(super) enum Done {
    Frame(Frame),
    /// The worker could not go on.
    Failed(StoreError),
}

impl Pipeline {
    /// Starts the threads.
    pub(super) fn start(
        parameters: Parameters,
        session: Arc<dyn Session>,
        keys: &Arc<Keys>,
        progress: &Arc<Progress>,
    ) -> Result<Self, StoreError> {
        let bytes = parameters.frame_pages as usize * parameters.page_size as usize;
        let queue = (parameters.workers * QUEUE_BYTES_PER_WORKER).min(MAX_QUEUE_BYTES);
        let frames = (queue / bytes).max(parameters.workers * 2 + 2);
        let (work, work_out) = bounded(frames);
        let (done_in, done) = bounded(frames);
        let (empty_in, empty) = bounded(frames);
        for _ in 0..frames {
            let frame = Frame {
                number: 0,
                raw: Vec::new(),
                digests: Vec::new(),
                codec: Codec::Raw,
                compressed: Vec::new(),
            };
            // There is room for exactly these.
            let _ = empty_in.send(frame);
        }
        let abandoned = Arc::new(AtomicBool::new(false));
        let packer = Packer::new(
            parameters,
            session,
            Arc::clone(keys),
            Arc::clone(progress),
            Arc::clone(&abandoned),
        );
        let packer = spawn("vmferry-pack", move || packer.run(&done, &empty_in))?;
        let mut pipeline = Self {
            work: Some(work),
            empty,
            workers: Vec::new(),
            packer: Some(packer),
            progress: Arc::clone(progress),
            abandoned,
            frame_bytes: bytes,
            next: 0,
        };
        for _ in 0..parameters.workers {
            let (work, done, keys) = (work_out.clone(), done_in.clone(), Arc::clone(keys));
            let worker = spawn("vmferry-compress", move || {
                Worker { work, done, keys }.run(parameters);
            })?;
            pipeline.workers.push(worker);
        }
        Ok(pipeline)
    }

    /// An empty frame; waits while all of them are on their way.
    pub(super) fn frame(&mut self) -> Result<Frame, StoreError> {
        let Ok(mut frame) = self.empty.recv() else {
            return Err(self.failure());
        };
        frame.number = self.next;
        self.next += 1;
        frame.raw.clear();
        frame.raw.reserve(self.frame_bytes);
        frame.digests.clear();
        Ok(frame)
    }

    /// Hands a frame on.
    pub(super) fn submit(&mut self, frame: Frame) -> Result<(), StoreError> {
        self.progress.queue();
        match &self.work {
            Some(work) if work.send(frame).is_ok() => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Waits until everything is in packs, and these are durable.
    pub(super) fn finish(mut self) -> Result<Packed, StoreError> {
        self.join()
    }

    /// Why the packer ended early.
    fn failure(&mut self) -> StoreError {
        match self.join() {
            Ok(_) => StoreError::Unreachable("the packer ended before the save did"),
            Err(error) => error,
        }
    }

    fn join(&mut self) -> Result<Packed, StoreError> {
        self.work = None;
        let mut panicked = false;
        for worker in self.workers.drain(..) {
            panicked |= worker.join().is_err();
        }
        let Some(packer) = self.packer.take() else {
            return Err(StoreError::AlreadyFailed);
        };
        match packer.join() {
            Ok(result) if !panicked => result,
            _ => Err(StoreError::Unreachable("a thread of the save panicked")),
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Release);
        let _ = self.join();
    }
}

/// Starts a thread that can be told from others in `top -H`.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StoreError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|error| StoreError::io("start", "a thread", error))
}

struct Worker {
    work: Receiver<Frame>,
    done: Sender<Done>,
    keys: Arc<Keys>,
}

impl Worker {
    fn run(&self, parameters: Parameters) {
        let mut compressor = match Compressor::new(parameters.zstd_level) {
            Ok(compressor) => compressor,
            Err(error) => {
                // If nobody listens, another thread has failed already.
                let _ = self.done.send(Done::Failed(error));
                return;
            }
        };
        for mut frame in &self.work {
            for page in frame.raw.chunks_exact(parameters.page_size as usize) {
                frame.digests.push(self.keys.page(page));
            }
            frame.codec = compressor.compress(&frame.raw, &mut frame.compressed);
            if self.done.send(Done::Frame(frame)).is_err() {
                return;
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without this word the packer would wait for a frame that never comes.
        if thread::panicking() {
            let error = StoreError::Unreachable("a thread of the save panicked");
            let _ = self.done.send(Done::Failed(error));
        }
    }
}
