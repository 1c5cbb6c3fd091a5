//! The thread that puts frames into packs, in the order in which they were filled, and the one that
//! makes full packs durable behind its back.
//!
//! Order matters twice: frames of neighbouring pages stay neighbours, and a frame's place follows from
//! its number, so the page map needs eight bytes for a page and nothing for a frame.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::pipeline::{Done, Frame, Parameters, spawn};
use super::progress::Progress;
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
    /// Nobody wants the packs any more.
    abandoned: Arc<AtomicBool>,
    pack: Option<PackWriter>,
    starts: Vec<u64>,
}

impl Packer {
    pub(super) fn new(
        parameters: Parameters,
        session: Arc<dyn Session>,
        keys: Arc<Keys>,
        progress: Arc<Progress>,
        abandoned: Arc<AtomicBool>,
    ) -> Self {
        Self {
            parameters,
            session,
            keys,
            progress,
            abandoned,
            pack: None,
            starts: Vec::new(),
        }
    }

    /// Takes frames until there are no more, and gives their buffers back.
    pub(super) fn run(
        mut self,
        done: &Receiver<Done>,
        empty: &Sender<Frame>,
    ) -> Result<Packed, StoreError> {
        let mut sealer = Sealer::start(Arc::clone(&self.keys))?;
        let mut early: BTreeMap<u64, Frame> = BTreeMap::new();
        let mut next = 0;
        for message in done {
            match message {
                Done::Frame(frame) => early.insert(frame.number, frame),
                Done::Failed(error) => return Err(error),
            };
            while let Some(frame) = early.remove(&next) {
                if sealer.has_failed() {
                    return Err(sealer.failure());
                }
                if let Some(full) = self.append(&frame)? {
                    sealer.submit(full)?;
                }
                next += 1;
                // If the caller is gone, so is the need for buffers.
                let _ = empty.send(frame);
            }
        }
        if self.abandoned.load(Ordering::Acquire) {
            return Err(StoreError::AlreadyFailed);
        }
        if let Some(last) = self.pack.take() {
            sealer.submit(last)?;
        }
        Ok(Packed {
            packs: sealer.finish()?,
            starts: self.starts,
        })
    }

    /// Adds a frame to the pack; tells the pack if it is full now.
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

/// The thread that ends packs: writing the index is quick, but making it all durable may take seconds.
struct Sealer {
    full: Option<Sender<PackWriter>>,
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<PackRecord>, StoreError>>>,
}

impl Sealer {
    fn start(keys: Arc<Keys>) -> Result<Self, StoreError> {
        let (full, packs) = bounded::<PackWriter>(1);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        let thread = spawn("vmferry-seal", move || {
            let mut records = Vec::new();
            for pack in packs {
                match pack.finish(&keys) {
                    Ok(record) => records.push(record),
                    Err(error) => {
                        flag.store(true, Ordering::Release);
                        return Err(error);
                    }
                }
            }
            Ok(records)
        })?;
        Ok(Self {
            full: Some(full),
            failed,
            thread: Some(thread),
        })
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Hands on a full pack.
    fn submit(&mut self, pack: PackWriter) -> Result<(), StoreError> {
        match &self.full {
            Some(full) if full.send(pack).is_ok() => Ok(()),
            _ => Err(self.failure()),
        }
    }

    fn failure(&mut self) -> StoreError {
        match self.finish() {
            Ok(_) => StoreError::Unreachable("the sealer ended before the packer did"),
            Err(error) => error,
        }
    }

    fn finish(&mut self) -> Result<Vec<PackRecord>, StoreError> {
        self.full = None;
        let Some(thread) = self.thread.take() else {
            return Err(StoreError::AlreadyFailed);
        };
        thread.join().unwrap_or(Err(StoreError::Unreachable(
            "a thread of the save panicked",
        )))
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
