//! Writing a pack: frames as they come, then their index.

use zerocopy::IntoBytes;

use super::layout::{
    CODEC_RAW, CODEC_ZSTD, ChunkEntry, DIGEST_BYTES, FrameEntry, REGION_FRAMES, REGION_INDEX,
    REGION_TABLE, TableHead,
};
use crate::backend::Upload;
use crate::codec::Codec;
use crate::digest::{Digest, Keys};
use crate::error::StoreError;
use crate::limits::MAX_FRAMES;
use crate::manifest::PackRecord;
use crate::name::ObjectKind;
use crate::object::{Builder, HEADER_BYTES};

/// About how many pages one index chunk describes: 8 KiB of digests are read and hashed for the first
/// page of a cold megabyte, against a table of 48 bytes for each.
const PAGES_PER_CHUNK: u32 = 256;

/// Pages in one pack: bounds what is kept of a pack while it is written (32 MiB of digests), and how
/// much of its checkpoint a reader must sort at a time.
const MAX_PAGES: usize = 1 << 20;

/// A pack that is being written.
pub(crate) struct PackWriter {
    builder: Builder,
    max_pages: u32,
    frames: Vec<FrameEntry>,
    /// Digests of all pages so far, one after the other.
    digests: Vec<u8>,
}

/// A frame as a worker made it.
pub(crate) struct StoredFrame<'a> {
    pub(crate) codec: Codec,
    pub(crate) bytes: &'a [u8],
    /// The digests of its pages.
    pub(crate) digests: &'a [Digest],
}

impl PackWriter {
    /// Begins a pack of frames of at most `max_pages` pages.
    pub(crate) fn begin(
        upload: Box<dyn Upload>,
        page_size: u32,
        max_pages: u32,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            builder: Builder::begin(upload, ObjectKind::Pack, page_size)?,
            max_pages,
            frames: Vec::new(),
            digests: Vec::new(),
        })
    }

    /// How many bytes were written so far.
    pub(crate) fn length(&self) -> u64 {
        self.builder.length()
    }

    /// Whether no further frame may be added.
    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() as u64 >= MAX_FRAMES || self.digests.len() >= MAX_PAGES * DIGEST_BYTES
    }

    /// Adds a frame.
    pub(crate) fn append(&mut self, frame: &StoredFrame<'_>) -> Result<(), StoreError> {
        let too_long = |_| StoreError::Unreachable("a frame is longer than the format allows");
        let offset = self.builder.append(frame.bytes)?;
        self.frames.push(FrameEntry {
            offset: offset.into(),
            stored: u32::try_from(frame.bytes.len()).map_err(too_long)?.into(),
            pages: u16::try_from(frame.digests.len()).map_err(too_long)?.into(),
            codec: match frame.codec {
                Codec::Raw => CODEC_RAW,
                Codec::Zstd => CODEC_ZSTD,
            },
            reserved: 0,
        });
        for digest in frame.digests {
            self.digests.extend_from_slice(digest.as_bytes());
        }
        Ok(())
    }

    /// Writes the index, makes the pack durable, and tells what it is.
    pub(crate) fn finish(mut self, keys: &Keys) -> Result<PackRecord, StoreError> {
        let too_many = |_| StoreError::Unreachable("an index chunk is too long");
        self.builder
            .indirect(REGION_FRAMES, HEADER_BYTES, self.frames.len() as u64);
        let index_offset = self.builder.length();
        let frames_per_chunk = (PAGES_PER_CHUNK / self.max_pages).max(1);
        let pages = self.digests.len() / DIGEST_BYTES;
        let head = TableHead {
            frames_per_chunk: frames_per_chunk.into(),
            max_pages: self.max_pages.into(),
            frames: (self.frames.len() as u64).into(),
            pages: (pages as u64).into(),
            reserved: [0; 8],
        };
        let mut table = head.as_bytes().to_vec();
        let mut chunks = 0;
        let mut digests = self.digests.as_slice();
        let mut chunk = Vec::new();
        for frames in self.frames.chunks(frames_per_chunk as usize) {
            let pages: u32 = frames
                .iter()
                .map(|frame| u32::from(frame.pages.get()))
                .sum();
            let (ours, rest) = digests.split_at(pages as usize * DIGEST_BYTES);
            digests = rest;
            chunk.clear();
            chunk.extend_from_slice(frames.as_bytes());
            chunk.extend_from_slice(ours);
            let offset = self.builder.append(&chunk)?;
            let entry = ChunkEntry {
                offset: offset.into(),
                length: u32::try_from(chunk.len()).map_err(too_many)?.into(),
                pages: pages.into(),
                digest: *keys.chunk(&chunk).as_bytes(),
            };
            table.extend_from_slice(entry.as_bytes());
            chunks += 1;
        }
        self.builder.indirect(REGION_INDEX, index_offset, chunks);
        self.builder.direct(REGION_TABLE, chunks, &table, keys)?;
        let (name, size) = self.builder.seal(keys)?;
        Ok(PackRecord {
            digest: name.digest,
            size,
            frames: self.frames.len() as u64,
            pages: pages as u64,
        })
    }
}
