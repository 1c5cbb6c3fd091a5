//! The thread that sees all pages in the order in which they came: it records where each will be, and
//! puts the new ones into frames.
//!
//! Order matters twice: the last content of a page counts, and frames of neighbouring pages stay
//! neighbours.

use std::mem;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::batch::{Batch, Content, Done, Entry, Frame};
use super::known::Lookup;
use super::order::InOrder;
use super::parameters::Parameters;
use super::progress::Progress;
use super::thread::{Ended, Failure};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::map::{MemoryMap, Recorded};

pub(super) struct Collector {
    pub(super) parameters: Parameters,
    pub(super) progress: Arc<Progress>,
    pub(super) failure: Arc<Failure>,
    pub(super) hashed: Receiver<Done<Batch>>,
    /// Gives batches back.
    pub(super) empty_batches: Sender<Batch>,
    pub(super) empty_frames: Receiver<Frame>,
    pub(super) frames: Sender<Frame>,
    pub(super) filling: Filling,
}

/// What the pages so far have come to.
#[derive(Default)]
pub(super) struct Filling {
    map: MemoryMap,
    /// The frame that is being filled: it has room for another page.
    frame: Option<Frame>,
    /// How many frames were begun.
    begun: u64,
    /// How many of them were submitted.
    submitted: u64,
}

impl Collector {
    /// Takes batches, of which there are so many, until no more come. What was recorded is of no use
    /// if the save has failed.
    pub(super) fn run(mut self, batches: usize) -> MemoryMap {
        let mut order = InOrder::new(batches);
        // When this ends early, its ends of the queues close, and that ends the others.
        while let Ok(Done::Item(batch)) = self.hashed.recv() {
            order.put(batch.number, batch);
            while let Some(batch) = order.next() {
                if self.failure.is_set() || self.collect(batch).is_err() {
                    return self.filling.map;
                }
            }
        }
        if let Some(frame) = self.filling.frame.take() {
            // If nobody takes it, the others have failed.
            let _ = self.submit(frame);
        }
        self.filling.map
    }

    fn collect(&mut self, mut batch: Batch) -> Result<(), Ended> {
        if let Some(lengths) = batch.lengths.take() {
            self.filling.map.set_lengths(lengths.into_iter());
        }
        let submitted = self.filling.submitted;
        let all_new = batch.lookups.iter().all(|lookup| *lookup == Lookup::New);
        if self.filling.frame.is_none() && all_new && !batch.raw.is_empty() {
            self.adopt(&mut batch)?;
        } else {
            self.pick(&batch)?;
        }
        if self.filling.submitted == submitted {
            self.progress.collect();
        } else {
            self.progress.pass_on();
        }
        // If the caller is gone, so is the need for buffers.
        let _ = self.empty_batches.send(batch);
        Ok(())
    }

    /// Makes a frame of a batch of new pages: it has no more of them than a frame.
    fn adopt(&mut self, batch: &mut Batch) -> Result<(), Ended> {
        let mut frame = self.begin()?;
        mem::swap(&mut frame.raw, &mut batch.raw);
        mem::swap(&mut frame.digests, &mut batch.digests);
        let mut slot = 0;
        for entry in &batch.entries {
            let recorded = match entry.content {
                Content::Zero => Recorded::Zero,
                Content::Data => {
                    slot += 1;
                    place(&frame, slot - 1)
                }
            };
            self.record(entry, recorded);
        }
        self.keep(frame)
    }

    /// Takes the new ones of a batch's pages into the frame that is being filled.
    fn pick(&mut self, batch: &Batch) -> Result<(), Ended> {
        let pages = batch.raw.chunks_exact(self.parameters.page_size as usize);
        let mut pages = pages.zip(&batch.digests).zip(&batch.lookups);
        for entry in &batch.entries {
            let recorded = match entry.content {
                Content::Zero => Recorded::Zero,
                Content::Data => match pages.next() {
                    Some((_, Lookup::Known(place))) => Recorded::Elsewhere(*place),
                    Some(((page, digest), Lookup::New)) => self.append(page, *digest)?,
                    None => return Err(self.unreachable("a batch has fewer pages than entries")),
                },
            };
            self.record(entry, recorded);
        }
        Ok(())
    }

    fn append(&mut self, page: &[u8], digest: Digest) -> Result<Recorded, Ended> {
        let mut frame = match self.filling.frame.take() {
            Some(frame) => frame,
            None => self.begin()?,
        };
        let recorded = place(&frame, frame.digests.len());
        frame.raw.extend_from_slice(page);
        frame.digests.push(digest);
        self.keep(frame)?;
        Ok(recorded)
    }

    fn record(&mut self, entry: &Entry, recorded: Recorded) {
        match self.filling.map.record(entry.block, entry.page, recorded) {
            Some(Recorded::Absent) => {}
            Some(_) => self.progress.repeat(),
            None => {
                self.unreachable("a page that is in no block");
            }
        }
    }

    /// An empty frame; waits while all of them are on their way.
    fn begin(&mut self) -> Result<Frame, Ended> {
        let mut frame = self.empty_frames.recv().map_err(|_| Ended)?;
        frame.number = self.filling.begun;
        self.filling.begun += 1;
        frame.raw.clear();
        frame.digests.clear();
        Ok(frame)
    }

    /// Submits a frame if it is full.
    fn keep(&mut self, frame: Frame) -> Result<(), Ended> {
        if frame.digests.len() >= self.parameters.frame_pages as usize {
            return self.submit(frame);
        }
        self.filling.frame = Some(frame);
        Ok(())
    }

    fn submit(&mut self, frame: Frame) -> Result<(), Ended> {
        self.filling.submitted += 1;
        self.progress.queue();
        self.frames.send(frame).map_err(|_| Ended)
    }

    fn unreachable(&self, what: &'static str) -> Ended {
        self.failure.set(StoreError::Unreachable(what));
        Ended
    }
}

/// Where the page in this slot of a frame will be.
fn place(frame: &Frame, slot: usize) -> Recorded {
    Recorded::Frame {
        number: frame.number,
        // The format allows 4096 pages in a frame.
        slot: u16::try_from(slot).unwrap_or(u16::MAX),
    }
}
