//! The thread that puts frames into packs, in the order in which they were filled.
//!
//! Because they are in order, a frame's place follows from its number, so the page map needs eight
//! bytes for a page and nothing for a frame.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::batch::{Done, Frame};
use super::order::InOrder;
use super::parameters::{Parameters, Surroundings};
use super::progress::Progress;
use super::sealer::Sealer;
use super::thread::{Ended, Failure};
use crate::backend::Session;
use crate::codec::Codec;
use crate::digest::Keys;
use crate::error::StoreError;
use crate::limits::MAX_PACKS;
use crate::manifest::PackRecord;
use crate::pack::{PackWriter, StoredFrame};

/// The packs of a save.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) packs: Vec<PackRecord>,
    /// The number of the first frame of each pack.
    starts: Vec<u64>,
}

impl Packed {
    /// In which pack the frame with this number is, and its number there.
    pub(super) fn place(&self, number: u64) -> Option<(u32, u32)> {
        let pack = self.starts.partition_point(|start| *start <= number);
        let pack = pack.checked_sub(1)?;
        let frame = number - self.starts[pack];
        if frame >= self.packs[pack].frames {
            return None;
        }
        Some((u32::try_from(pack).ok()?, u32::try_from(frame).ok()?))
    }
}

pub(super) struct Packer {
    parameters: Parameters,
    session: Arc<dyn Session>,
    keys: Arc<Keys>,
    progress: Arc<Progress>,
    failure: Arc<Failure>,
    pack: Option<PackWriter>,
    starts: Vec<u64>,
}

impl Packer {
    pub(super) fn new(
        parameters: Parameters,
        surroundings: &Surroundings,
        failure: Arc<Failure>,
    ) -> Self {
        Self {
            parameters,
            session: Arc::clone(&surroundings.session),
            keys: Arc::clone(&surroundings.keys),
            progress: Arc::clone(&surroundings.progress),
            failure,
            pack: None,
            starts: Vec::new(),
        }
    }

    /// Takes frames, of which there are so many, until no more come, and gives their buffers back.
    pub(super) fn run(
        mut self,
        compressed: &Receiver<Done<Frame>>,
        empty: &Sender<Frame>,
        frames: usize,
    ) -> Result<Packed, Ended> {
        self.pack(compressed, empty, frames).map_err(|error| {
            // Where another thread has failed before, this is not looked at.
            self.failure.set(error);
            Ended
        })
    }

    fn pack(
        &mut self,
        compressed: &Receiver<Done<Frame>>,
        empty: &Sender<Frame>,
        frames: usize,
    ) -> Result<Packed, StoreError> {
        let mut sealer = Sealer::start(Arc::clone(&self.keys))?;
        let mut order = InOrder::new(frames);
        for message in compressed {
            match message {
                Done::Item(frame) => order.put(frame.number, frame),
                Done::Failed => return Err(StoreError::AlreadyFailed),
            }
            while let Some(frame) = order.next() {
                if self.failure.is_set() {
                    return Err(StoreError::AlreadyFailed);
                }
                if sealer.has_failed() {
                    return Err(sealer.failure());
                }
                if let Some(full) = self.append(&frame)? {
                    sealer.submit(full)?;
                }
                // If the collector is gone, so is the need for buffers.
                let _ = empty.send(frame);
            }
        }
        // The queue closes after a failure, too.
        if self.failure.is_set() {
            return Err(StoreError::AlreadyFailed);
        }
        if let Some(last) = self.pack.take() {
            sealer.submit(last)?;
        }
        Ok(Packed {
            packs: sealer.finish()?,
            starts: std::mem::take(&mut self.starts),
        })
    }

    /// Adds a frame to the pack; returns the pack if it is full now.
    fn append(&mut self, frame: &Frame) -> Result<Option<PackWriter>, StoreError> {
        let mut pack = match self.pack.take() {
            Some(pack) => pack,
            None => self.begin(frame.number)?,
        };
        let bytes = match frame.codec {
            Codec::Raw => &frame.raw,
            Codec::Zstd => &frame.compressed,
        };
        pack.append(&StoredFrame {
            codec: frame.codec,
            bytes,
            digests: &frame.digests,
        })?;
        self.progress.accept(frame.raw.len(), bytes.len());
        if pack.length() >= self.parameters.pack_bytes || pack.is_full() {
            return Ok(Some(pack));
        }
        self.pack = Some(pack);
        Ok(None)
    }

    fn begin(&mut self, number: u64) -> Result<PackWriter, StoreError> {
        if self.starts.len() >= MAX_PACKS {
            return Err(StoreError::TooLarge {
                what: "the number of packs",
                found: self.starts.len() as u64 + 1,
                limit: MAX_PACKS as u64,
            });
        }
        self.starts.push(number);
        PackWriter::begin(
            self.session.create()?,
            self.parameters.page_size,
            self.parameters.frame_pages,
        )
    }
}
