//! The threads that do what takes time: hash and look up pages, compress frames.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, never, select_biased};

use super::batch::{Batch, Content, Done, Frame};
use super::known::KnownPages;
use super::parameters::Parameters;
use super::thread::{Ended, Failure, PANICKED};
use crate::codec::Compressor;
use crate::digest::Keys;

/// One of several that take from the same queues.
pub(super) struct Worker {
    pub(super) parameters: Parameters,
    pub(super) keys: Arc<Keys>,
    pub(super) known: Arc<dyn KnownPages>,
    pub(super) failure: Arc<Failure>,
    /// Batches to hash.
    pub(super) batches: Receiver<Batch>,
    /// `None` after the last batch: the collector ends when no worker can give it any more.
    pub(super) hashed: Option<Sender<Done<Batch>>>,
    /// Frames to compress.
    pub(super) frames: Receiver<Frame>,
    pub(super) compressed: Sender<Done<Frame>>,
}

enum Job {
    Hash(Batch),
    Compress(Frame),
}

impl Worker {
    pub(super) fn run(mut self) {
        let mut compressor = match Compressor::new(self.parameters.zstd_level) {
            Ok(compressor) => compressor,
            Err(error) => {
                self.failure.set(error);
                self.report();
                return;
            }
        };
        while let Some(job) = self.job() {
            let done = match job {
                Job::Hash(batch) => self.hash(batch),
                Job::Compress(mut frame) => {
                    frame.codec = compressor.compress(&frame.raw, &mut frame.compressed);
                    self.compressed.send(Done::Item(frame)).map_err(|_| Ended)
                }
            };
            if done == Err(Ended) {
                return;
            }
        }
    }

    /// What to do next; `None` when there is nothing to come. Frames go first: they hold what is
    /// waited for at the other end.
    fn job(&mut self) -> Option<Job> {
        while self.hashed.is_some() {
            select_biased! {
                // The collector has its end for as long as there are batches, unless the save has failed.
                recv(self.frames) -> frame => return frame.ok().map(Job::Compress),
                recv(self.batches) -> batch => match batch {
                    Ok(batch) => return Some(Job::Hash(batch)),
                    Err(_) => {
                        self.batches = never();
                        self.hashed = None;
                    }
                },
            }
        }
        self.frames.recv().ok().map(Job::Compress)
    }

    fn hash(&self, mut batch: Batch) -> Result<(), Ended> {
        let mut pages = batch.raw.chunks_exact(self.parameters.page_size as usize);
        for entry in &batch.entries {
            if entry.content == Content::Zero {
                continue;
            }
            let digest = self.keys.page(pages.next().unwrap_or_default());
            let lookup = self.known.look_up(entry.block, entry.page, &digest);
            batch.digests.push(digest);
            batch.lookups.push(lookup);
        }
        match &self.hashed {
            Some(hashed) => hashed.send(Done::Item(batch)).map_err(|_| Ended),
            None => Err(Ended),
        }
    }

    /// Without this word the others would wait for what this worker had in hand.
    fn report(&self) {
        // Whoever does not listen has ended already.
        if let Some(hashed) = &self.hashed {
            let _ = hashed.send(Done::Failed);
        }
        let _ = self.compressed.send(Done::Failed);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if thread::panicking() {
            self.failure.set(PANICKED);
            self.report();
        }
    }
}
