//! The frames of a checkpoint, decompressed once for everybody who reads it.
//!
//! Requested pages, walks over all pages and any number of readers share one [`FramePool`]. Two that
//! miss the same frame at the same time decompress it once, and each page is compared with its digest
//! once while its frame stays in memory. What stays is bounded in bytes; a frame that somebody still
//! holds when it is driven out is freed when it is let go.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReadOptions;
use super::cache::{Cache, Weight, cache};
use super::frame::{DecodedFrame, FrameId, SpareBuffers};
use super::packs::{OpenPack, Packs};
use crate::codec::Decompressors;
use crate::digest::{Digest, Keys};
use crate::error::StoreError;
use crate::pack::{Frame, IndexChunk, Place};

/// Frames that are closer together than this are read in one go.
const READ_BYTES: u64 = 1 << 20;
/// What the index of a megabyte of pages takes.
const TYPICAL_CHUNK_BYTES: u64 = 8 << 10;

pub(super) struct FramePool {
    packs: Packs,
    keys: Arc<Keys>,
    page_size: usize,
    chunks: Cache<ChunkId, IndexChunk>,
    frames: Cache<FrameId, DecodedFrame>,
    capacity_in_frames: usize,
    spare: Arc<SpareBuffers>,
    decompressors: Decompressors,
    decoded: AtomicU64,
}

/// Which index chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ChunkId {
    /// Position of its pack in the manifest's list.
    pack: u32,
    /// Its number in the pack.
    number: u32,
}

impl Weight for IndexChunk {
    fn weight(&self) -> u64 {
        self.bytes() as u64
    }
}

impl FramePool {
    /// An empty pool for frames of about `frame_bytes`.
    pub(super) fn new(
        packs: Packs,
        keys: Arc<Keys>,
        page_size: usize,
        frame_bytes: u64,
        options: &ReadOptions,
    ) -> Self {
        Self {
            packs,
            keys,
            page_size,
            chunks: cache(options.index_bytes as u64, TYPICAL_CHUNK_BYTES),
            frames: cache(options.cache_bytes as u64, frame_bytes),
            capacity_in_frames: usize::try_from(options.cache_bytes as u64 / frame_bytes.max(1))
                .unwrap_or(usize::MAX),
            spare: Arc::default(),
            decompressors: Decompressors::default(),
            decoded: AtomicU64::new(0),
        }
    }

    pub(super) fn packs(&self) -> &Packs {
        &self.packs
    }

    /// How many frames have been decompressed so far.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// About how many frames stay in memory.
    pub(super) fn capacity_in_frames(&self) -> usize {
        self.capacity_in_frames
    }

    /// The index chunk that describes `frame`.
    pub(super) fn chunk(&self, pack: &OpenPack, frame: u32) -> Result<Arc<IndexChunk>, StoreError> {
        let id = ChunkId {
            pack: pack.number,
            number: pack.index.chunk_of(frame)?,
        };
        self.chunks.get_or_insert_with(&id, || {
            let read = pack.index.read_index(&*pack.file, id.number, &self.keys)?;
            Ok(Arc::new(read))
        })
    }

    /// The frame of a place.
    pub(super) fn frame(&self, place: Place) -> Result<Arc<DecodedFrame>, StoreError> {
        self.frames.get_or_insert_with(&FrameId::from(place), || {
            let pack = self.packs.get(place.pack())?;
            let chunk = self.chunk(&pack, place.frame())?;
            let frame = chunk.frame(place.frame())?;
            let mut stored = vec![0; frame.stored as usize];
            pack.file.read_exact_at(&mut stored, frame.offset)?;
            self.decode(&pack, &chunk, frame, &stored).map(Arc::new)
        })
    }

    /// Gives frames of one pack to `each`, in the order of their numbers, which ascends: each with its
    /// position in `numbers`. Those that are not in memory are read many at a time, into `stored`.
    pub(super) fn frames(
        &self,
        pack: u32,
        numbers: &[u32],
        stored: &mut Vec<u8>,
        mut each: impl FnMut(usize, Arc<DecodedFrame>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let id = |number| FrameId { pack, number };
        let mut at = 0;
        while let Some(number) = numbers.get(at) {
            if let Some(frame) = self.frames.get(&id(*number)) {
                if each(at, frame)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                at += 1;
                continue;
            }
            let open = self.packs.get(pack)?;
            let run = self.run(&open, &numbers[at..])?;
            let Some(((_, first), (_, last))) = run.first().zip(run.last()) else {
                return Err(StoreError::Unreachable("a run of no frames"));
            };
            let (start, end) = (first.offset, last.offset + u64::from(last.stored));
            let length = usize::try_from(end - start)
                .map_err(|_| StoreError::Unreachable("a read that is larger than memory"))?;
            stored.resize(length, 0);
            open.file.read_exact_at(stored, start)?;
            for (chunk, frame) in &run {
                let from = usize::try_from(frame.offset - start).unwrap_or(usize::MAX);
                let bytes = &stored[from..from + frame.stored as usize];
                // Somebody may be at it, or have been faster: what was read for nothing cost less than
                // to keep others waiting for a megabyte.
                let frame = self.frames.get_or_insert_with(&id(numbers[at]), || {
                    self.decode(&open, chunk, frame, bytes).map(Arc::new)
                })?;
                if each(at, frame)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                at += 1;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The first of `numbers`, and those after it that are not in memory either and so close that they
    /// are read together with it; each with the index chunk that describes it.
    fn run(
        &self,
        pack: &OpenPack,
        numbers: &[u32],
    ) -> Result<Vec<(Arc<IndexChunk>, Frame)>, StoreError> {
        let mut run: Vec<(Arc<IndexChunk>, Frame)> = Vec::new();
        for number in numbers {
            let id = FrameId {
                pack: pack.number,
                number: *number,
            };
            if !run.is_empty() && self.frames.contains_key(&id) {
                break;
            }
            let chunk = match run.last() {
                Some((chunk, _)) if chunk.frame(*number).is_ok() => Arc::clone(chunk),
                _ => self.chunk(pack, *number)?,
            };
            let frame = *chunk.frame(*number)?;
            if let Some(((_, first), (_, last))) = run.first().zip(run.last()) {
                let last_end = last.offset + u64::from(last.stored);
                let end = frame.offset + u64::from(frame.stored);
                if frame.offset < last_end || end - first.offset > READ_BYTES {
                    break;
                }
            }
            run.push((chunk, frame));
        }
        Ok(run)
    }

    /// Decompresses a frame that was read.
    pub(super) fn decode(
        &self,
        pack: &OpenPack,
        chunk: &IndexChunk,
        frame: &Frame,
        stored: &[u8],
    ) -> Result<DecodedFrame, StoreError> {
        let mut pages = self.spare.take();
        pack.index
            .decode(frame, stored, &mut pages, &self.decompressors)?;
        self.decoded.fetch_add(1, Ordering::Relaxed);
        let digests: Box<[Digest]> = chunk.digests(frame).collect();
        let words = digests.len().div_ceil(64);
        Ok(DecodedFrame {
            pack: pack.index.name(),
            offset: frame.offset,
            page_size: self.page_size,
            pages,
            digests,
            verified: (0..words).map(|_| AtomicU64::new(0)).collect(),
            spare: Arc::clone(&self.spare),
        })
    }
}
