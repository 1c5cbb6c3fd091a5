//! Writing a page map.

use zerocopy::IntoBytes;

use super::layout::{
    CODEC_ABSENT, CODEC_RAW, CODEC_ZERO, CODEC_ZSTD, ChunkEntry, REGION_CHUNKS, REGION_TABLE,
    TableHead, encode,
};
use super::{CHUNK_PAGES, MemoryMap, PageAt, Recorded};
use crate::backend::Upload;
use crate::codec::{Codec, Compressor};
use crate::digest::Keys;
use crate::error::StoreError;
use crate::limits::MAX_TABLE_BYTES;
use crate::manifest::{ObjectRef, PageCounts};
use crate::name::ObjectKind;
use crate::object::{Builder, HEADER_BYTES};
use crate::pack::Place;

/// Where the pages of a save ended up.
pub(crate) trait Places {
    /// The place of what is recorded for a page that is in a pack.
    fn place(&mut self, recorded: Recorded) -> Result<Place, StoreError>;

    /// How many packs the places are in so far.
    fn packs(&self) -> usize;
}

/// Writes `map` as an object, and returns what it is and what the pages of each block are.
pub(crate) fn write_map(
    upload: Box<dyn Upload>,
    page_size: u32,
    map: &MemoryMap,
    places: &mut impl Places,
    keys: &Keys,
) -> Result<(ObjectRef, Vec<PageCounts>), StoreError> {
    let lengths: Vec<u64> = map.lengths().collect();
    let blocks = u32::try_from(lengths.len())
        .map_err(|_| StoreError::Unreachable("more blocks than the format allows"))?;
    let mut writer = MapWriter {
        builder: Builder::begin(upload, ObjectKind::Map, page_size)?,
        compressor: Compressor::new(1)?,
        entries: Vec::new(),
        raw: Vec::new(),
        compressed: Vec::new(),
    };
    let mut counts = Vec::with_capacity(lengths.len());
    for block in 0..lengths.len() {
        let mut of_block = PageCounts::default();
        for (pages, recorded) in map.chunks(block) {
            let of_chunk = match recorded {
                None => writer.shortcut(CODEC_ABSENT, pages),
                Some(recorded) => {
                    let mut pages = Vec::with_capacity(CHUNK_PAGES as usize);
                    for recorded in recorded {
                        pages.push(match recorded {
                            Recorded::Absent => PageAt::Absent,
                            Recorded::Zero => PageAt::Zero,
                            Recorded::Frame { .. } | Recorded::Elsewhere(_) => {
                                PageAt::Stored(places.place(recorded)?)
                            }
                        });
                    }
                    writer.chunk(&pages, keys)?
                }
            };
            of_block.data += of_chunk.data;
            of_block.zero += of_chunk.zero;
            of_block.absent += of_chunk.absent;
        }
        counts.push(of_block);
    }
    let packs = u32::try_from(places.packs())
        .map_err(|_| StoreError::Unreachable("more packs than the format allows"))?;
    let head = TableHead {
        chunk_pages: CHUNK_PAGES.into(),
        blocks: blocks.into(),
        packs: packs.into(),
        reserved: 0.into(),
    };
    let mut table = head.as_bytes().to_vec();
    for pages in lengths {
        table.extend_from_slice(&pages.to_le_bytes());
    }
    table.extend_from_slice(writer.entries.as_bytes());
    if table.len() as u64 > MAX_TABLE_BYTES {
        return Err(StoreError::TooLarge {
            what: "the table of the page map (bytes)",
            found: table.len() as u64,
            limit: MAX_TABLE_BYTES,
        });
    }
    let chunks = writer.entries.len() as u64;
    let mut builder = writer.builder;
    builder.indirect(REGION_CHUNKS, HEADER_BYTES, chunks);
    builder.direct(REGION_TABLE, chunks, &table, keys)?;
    let (name, size) = builder.seal(keys)?;
    let digest = name.digest;
    Ok((ObjectRef { digest, size }, counts))
}

struct MapWriter {
    builder: Builder,
    compressor: Compressor,
    entries: Vec<ChunkEntry>,
    raw: Vec<u8>,
    compressed: Vec<u8>,
}

impl MapWriter {
    fn chunk(&mut self, pages: &[PageAt], keys: &Keys) -> Result<PageCounts, StoreError> {
        let count = |wanted| pages.iter().filter(|page| **page == wanted).count() as u64;
        let (all, absent, zero) = (
            pages.len() as u64,
            count(PageAt::Absent),
            count(PageAt::Zero),
        );
        if absent == all {
            return Ok(self.shortcut(CODEC_ABSENT, all));
        }
        if zero == all {
            return Ok(self.shortcut(CODEC_ZERO, all));
        }
        self.raw.clear();
        encode(pages.iter().copied(), &mut self.raw);
        let (codec, bytes) = match self.compressor.compress(&self.raw, &mut self.compressed) {
            Codec::Raw => (CODEC_RAW, &self.raw),
            Codec::Zstd => (CODEC_ZSTD, &self.compressed),
        };
        let offset = self.builder.append(bytes)?;
        self.entries.push(ChunkEntry {
            offset: offset.into(),
            length: u32::try_from(bytes.len())
                .map_err(|_| StoreError::Unreachable("a chunk of a page map is too long"))?
                .into(),
            codec,
            reserved: [0; 3],
            digest: *keys.chunk(bytes).as_bytes(),
        });
        Ok(PageCounts {
            data: all - absent - zero,
            zero,
            absent,
        })
    }

    /// A chunk whose pages are all alike.
    fn shortcut(&mut self, codec: u8, pages: u64) -> PageCounts {
        self.entries.push(ChunkEntry {
            offset: 0.into(),
            length: 0.into(),
            codec,
            reserved: [0; 3],
            digest: [0; 32],
        });
        let (zero, absent) = match codec {
            CODEC_ZERO => (pages, 0),
            _ => (0, pages),
        };
        PageCounts {
            data: 0,
            zero,
            absent,
        }
    }
}
