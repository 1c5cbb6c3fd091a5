//! Reading a pack: its table once, index chunks and frames as they are asked for.

use zerocopy::FromBytes;

use super::layout::{
    CODEC_RAW, CODEC_ZSTD, ChunkEntry, DIGEST_BYTES, FrameEntry, REGION_FRAMES, REGION_INDEX,
    REGION_TABLE, REGIONS, TableHead,
};
use crate::backend::Object;
use crate::codec::{Codec, Decompressors};
use crate::digest::{Digest, Keys, differ};
use crate::error::StoreError;
use crate::limits::{
    MAX_CODEC_OVERHEAD, MAX_FRAME_BYTES, MAX_FRAME_PAGES, MAX_FRAMES, MAX_FRAMES_PER_CHUNK,
    MAX_INDEX_CHUNK_BYTES, MAX_TABLE_BYTES,
};
use crate::manifest::PackRecord;
use crate::name::{ObjectKind, ObjectName};
use crate::object::{Span, Tail, read_chunk};

/// What is known of a pack after its tail and its index table were read and verified.
#[derive(Debug)]
pub(crate) struct PackIndex {
    name: ObjectName,
    page_size: usize,
    frames_per_chunk: u32,
    max_pages: u32,
    frames: u64,
    frame_span: Span,
    chunks: Vec<ChunkEntry>,
}

/// One verified index chunk: some frames, and the digests of their pages.
#[derive(Debug)]
pub(crate) struct IndexChunk {
    first_frame: u32,
    frames: Vec<Frame>,
    digests: Vec<u8>,
}

/// Where a frame is and what is in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) stored: u32,
    pub(crate) pages: u16,
    codec: Codec,
    /// Number of its first page among those of its chunk.
    first_page: u32,
}

impl PackIndex {
    /// Reads the tail and the index table of the pack that a manifest records as `record`.
    pub(crate) fn read(
        object: &dyn Object,
        record: &PackRecord,
        page_size: u32,
        keys: &Keys,
    ) -> Result<Self, StoreError> {
        let name = ObjectName {
            kind: ObjectKind::Pack,
            digest: record.digest,
        };
        let tail = Tail::read(object, name, record.size, keys)?;
        tail.admit(name, &REGIONS)?;
        let differs = |what, expected: u64, found: u64| {
            if expected == found {
                return Ok(());
            }
            Err(StoreError::damaged(name, what, expected, found))
        };
        differs("page size", page_size.into(), tail.page_size.into())?;
        let frame_span = tail.region(name, REGION_FRAMES)?;
        let index_span = tail.region(name, REGION_INDEX)?;
        let table = (REGION_TABLE, "index table");
        let (bytes, table_span) = tail.read_region(object, name, table, MAX_TABLE_BYTES, keys)?;
        let (head, entries) = TableHead::read_from_prefix(&bytes).map_err(|_| {
            StoreError::damaged(name, "index table", "32 bytes or more", bytes.len())
        })?;
        differs("number of frames", record.frames, head.frames.get())?;
        differs("number of pages", record.pages, head.pages.get())?;
        let chunks = check_table(&head, entries, page_size, index_span).map_err(|found| {
            let expected = "a table within the limits";
            StoreError::damaged(name, "index table", expected, found).at(table_span.offset)
        })?;
        Ok(Self {
            name,
            page_size: page_size as usize,
            frames_per_chunk: head.frames_per_chunk.get(),
            max_pages: head.max_pages.get(),
            frames: head.frames.get(),
            frame_span,
            chunks,
        })
    }

    /// The pack.
    pub(crate) fn name(&self) -> ObjectName {
        self.name
    }

    /// How many index chunks it has.
    pub(crate) fn chunk_count(&self) -> u32 {
        u32::try_from(self.chunks.len()).unwrap_or(u32::MAX)
    }

    /// The number of the index chunk that describes `frame`.
    pub(crate) fn chunk_of(&self, frame: u32) -> Result<u32, StoreError> {
        if u64::from(frame) < self.frames {
            return Ok(frame / self.frames_per_chunk);
        }
        let expected = format!("less than {}", self.frames);
        Err(StoreError::damaged(
            self.name,
            "number of a frame that a page map names",
            expected,
            frame,
        ))
    }

    /// Reads and verifies an index chunk.
    pub(crate) fn read_index(
        &self,
        object: &dyn Object,
        number: u32,
        keys: &Keys,
    ) -> Result<IndexChunk, StoreError> {
        let Some(entry) = self.chunks.get(number as usize) else {
            return Err(StoreError::Unreachable("an index chunk beyond the table"));
        };
        let first_frame = number * self.frames_per_chunk;
        let count = (self.frames - u64::from(first_frame)).min(self.frames_per_chunk.into());
        let offset = entry.offset.get();
        let bad = |what, expected: String, found: String| {
            StoreError::damaged(self.name, what, expected, found).at(offset)
        };
        let length = count * size_of::<FrameEntry>() as u64
            + u64::from(entry.pages.get()) * DIGEST_BYTES as u64;
        if length != u64::from(entry.length.get()) {
            let (expected, found) = (length.to_string(), entry.length.to_string());
            return Err(bad("length of an index chunk", expected, found));
        }
        let bytes = read_chunk(
            object,
            (self.name, "index chunk"),
            (offset, length),
            MAX_INDEX_CHUNK_BYTES.into(),
            Digest::from_bytes(entry.digest),
            keys,
        )?;
        let (entries, digests) =
            bytes.split_at(bytes.len() - entry.pages.get() as usize * DIGEST_BYTES);
        let mut frames = Vec::new();
        let mut first_page = 0;
        for entry in entries
            .chunks_exact(size_of::<FrameEntry>())
            .filter_map(|entry| FrameEntry::read_from_bytes(entry).ok())
        {
            let frame = self.check_frame(&entry, first_page).ok_or_else(|| {
                bad(
                    "frame",
                    "one within the limits".into(),
                    format!("{entry:?}"),
                )
            })?;
            first_page += u32::from(frame.pages);
            frames.push(frame);
        }
        if first_page != entry.pages.get() {
            let (expected, found) = (entry.pages.to_string(), first_page.to_string());
            return Err(bad("pages in an index chunk", expected, found));
        }
        Ok(IndexChunk {
            first_frame,
            frames,
            digests: digests.to_vec(),
        })
    }

    fn check_frame(&self, entry: &FrameEntry, first_page: u32) -> Option<Frame> {
        let (offset, stored) = (entry.offset.get(), u64::from(entry.stored.get()));
        let pages = entry.pages.get();
        let codec = match entry.codec {
            CODEC_RAW => Codec::Raw,
            CODEC_ZSTD => Codec::Zstd,
            _ => return None,
        };
        let raw = u64::from(pages) * self.page_size as u64;
        let end = offset.checked_add(stored)?;
        let sane = (1..=self.max_pages).contains(&u32::from(pages))
            && offset >= self.frame_span.offset
            && end <= self.frame_span.offset + self.frame_span.length
            && match codec {
                Codec::Raw => stored == raw,
                Codec::Zstd => stored <= raw + u64::from(MAX_CODEC_OVERHEAD),
            };
        sane.then_some(Frame {
            offset,
            stored: entry.stored.get(),
            pages,
            codec,
            first_page,
        })
    }

    /// Fills `pages` with the pages of `frame`, which are stored as `stored`. The pages are not
    /// verified.
    pub(crate) fn decode(
        &self,
        frame: &Frame,
        stored: &[u8],
        pages: &mut Vec<u8>,
        decompressors: &Decompressors,
    ) -> Result<(), StoreError> {
        let length = usize::from(frame.pages) * self.page_size;
        if pages.len() != length {
            pages.clear();
            pages.resize(length, 0);
        }
        match frame.codec {
            Codec::Raw => {
                pages.copy_from_slice(stored);
                Ok(())
            }
            Codec::Zstd => decompressors.decompress(stored, pages).map_err(|error| {
                StoreError::damaged(self.name, "frame", "bytes that decompress", error)
                    .at(frame.offset)
            }),
        }
    }
}

/// Compares the page in `slot` of the frame at `offset` of a pack with its digest.
pub(crate) fn verify_page(
    pack: ObjectName,
    offset: u64,
    slot: usize,
    expected: Digest,
    page: &[u8],
    keys: &Keys,
) -> Result<(), StoreError> {
    let found = keys.page(page);
    if !differ(expected, found) {
        return Ok(());
    }
    let found = format!("{found} in slot {slot}");
    Err(StoreError::damaged(pack, "page in a frame", expected, found).at(offset))
}

/// The index chunks of a table that makes sense; else what does not.
fn check_table(
    head: &TableHead,
    entries: &[u8],
    page_size: u32,
    index: Span,
) -> Result<Vec<ChunkEntry>, String> {
    let (per_chunk, max_pages) = (head.frames_per_chunk.get(), head.max_pages.get());
    let frame_bytes = u64::from(max_pages) * u64::from(page_size);
    let sane = (1..=MAX_FRAMES_PER_CHUNK).contains(&per_chunk)
        && (1..=MAX_FRAME_PAGES).contains(&max_pages)
        && frame_bytes <= MAX_FRAME_BYTES.into()
        && head.frames.get() <= MAX_FRAMES;
    if !sane {
        return Err(format!("{head:?}"));
    }
    let chunks: Vec<ChunkEntry> = entries
        .chunks_exact(size_of::<ChunkEntry>())
        .filter_map(|entry| ChunkEntry::read_from_bytes(entry).ok())
        .collect();
    let expected = head.frames.get().div_ceil(per_chunk.into());
    if chunks.len() as u64 != expected || entries.len() % size_of::<ChunkEntry>() != 0 {
        return Err(format!("{} bytes for {expected} chunks", entries.len()));
    }
    let pages: u64 = chunks.iter().map(|c| u64::from(c.pages.get())).sum();
    if pages != head.pages.get() {
        return Err(format!(
            "{pages} pages in all chunks, {} in the head",
            head.pages
        ));
    }
    let outside = chunks.iter().find(|chunk| {
        let end = chunk.offset.get().checked_add(chunk.length.get().into());
        chunk.offset.get() < index.offset || end.is_none_or(|end| end > index.offset + index.length)
    });
    match outside {
        Some(chunk) => Err(format!("a chunk outside the index region: {chunk:?}")),
        None => Ok(chunks),
    }
}

impl IndexChunk {
    /// The frame of this number (counted in the pack).
    pub(crate) fn frame(&self, number: u32) -> Result<&Frame, StoreError> {
        number
            .checked_sub(self.first_frame)
            .and_then(|at| self.frames.get(at as usize))
            .ok_or(StoreError::Unreachable("a frame outside its index chunk"))
    }

    /// The frames with their numbers in the pack.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u32, &Frame)> {
        (self.first_frame..).zip(&self.frames)
    }

    /// The digest of the page in `slot` of a frame, if the frame has such a slot.
    pub(crate) fn digest(&self, frame: &Frame, slot: usize) -> Option<Digest> {
        if slot >= usize::from(frame.pages) {
            return None;
        }
        let at = (frame.first_page as usize + slot) * DIGEST_BYTES;
        let bytes = self.digests.get(at..at + DIGEST_BYTES)?;
        bytes.try_into().ok().map(Digest::from_bytes)
    }

    /// The digests of the pages of a frame.
    pub(crate) fn digests(&self, frame: &Frame) -> impl Iterator<Item = Digest> {
        let slots = 0..usize::from(frame.pages);
        slots.filter_map(|slot| self.digest(frame, slot))
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.frames.as_slice()) + self.digests.len()
    }
}
