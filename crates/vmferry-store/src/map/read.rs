//! Looking pages up in a page map.

use std::sync::OnceLock;

use vmferry::ram::{BlockIndex, PageIndex};
use zerocopy::FromBytes;

use super::PageAt;
use super::layout::{
    CODEC_ABSENT, CODEC_RAW, CODEC_ZERO, CODEC_ZSTD, ChunkEntry, REGION_CHUNKS, REGION_TABLE,
    REGIONS, TableHead, decode,
};
use crate::backend::Object;
use crate::codec::Decompressors;
use crate::digest::{Digest, Keys};
use crate::error::StoreError;
use crate::limits::{
    MAX_CODEC_OVERHEAD, MAX_MAP_CHUNK_PAGES, MAX_TABLE_BYTES, MIN_MAP_CHUNK_PAGES,
};
use crate::manifest::Manifest;
use crate::name::{ObjectKind, ObjectName};
use crate::object::{Span, Tail, read_chunk};
use crate::pack::Place;

/// A page map whose table was read and verified. Chunks are loaded when they are first asked for,
/// and kept: eight bytes for each page in them.
pub(crate) struct PageMap {
    name: ObjectName,
    object: Box<dyn Object>,
    chunk_pages: u64,
    packs: u32,
    span: Span,
    blocks: Vec<Block>,
    chunks: Vec<Chunk>,
}

struct Block {
    pages: u64,
    /// Number of its first chunk.
    first: usize,
}

struct Chunk {
    entry: ChunkEntry,
    words: OnceLock<Box<[Word]>>,
}

/// A decoded entry: 0 absent, 1 zero, else the place, shifted up by two bits, and 2.
#[derive(Clone, Copy)]
struct Word(u64);

impl From<PageAt> for Word {
    fn from(page: PageAt) -> Self {
        Self(match page {
            PageAt::Absent => 0,
            PageAt::Zero => 1,
            PageAt::Stored(place) => place.word() << 2 | 2,
        })
    }
}

impl From<Word> for PageAt {
    fn from(word: Word) -> Self {
        match (word.0, Place::from_word(word.0 >> 2)) {
            (1, _) => Self::Zero,
            (word, Some(place)) if word & 2 != 0 => Self::Stored(place),
            _ => Self::Absent,
        }
    }
}

impl PageMap {
    /// Reads the tail and the table of the page map of `manifest`.
    pub(crate) fn read(
        object: Box<dyn Object>,
        manifest: &Manifest,
        keys: &Keys,
    ) -> Result<Self, StoreError> {
        let reference = manifest.ram.map;
        let name = ObjectName {
            kind: ObjectKind::Map,
            digest: reference.digest,
        };
        let tail = Tail::read(&*object, name, reference.size, keys)?;
        tail.admit(name, &REGIONS)?;
        if u64::from(tail.page_size) != manifest.ram.page_size {
            let (expected, found) = (manifest.ram.page_size, tail.page_size);
            return Err(StoreError::damaged(name, "page size", expected, found));
        }
        let span = tail.region(name, REGION_CHUNKS)?;
        let table = (REGION_TABLE, "map table");
        let (bytes, at) = tail.read_region(&*object, name, table, MAX_TABLE_BYTES, keys)?;
        let (head, blocks, chunks) = check_table(&bytes, manifest).map_err(|found| {
            let expected = "a table that fits the manifest";
            StoreError::damaged(name, "map table", expected, found).at(at.offset)
        })?;
        Ok(Self {
            name,
            object,
            chunk_pages: head.chunk_pages.get().into(),
            packs: head.packs.get(),
            span,
            blocks,
            chunks,
        })
    }

    /// Where a page is.
    pub(crate) fn lookup(
        &self,
        block: BlockIndex,
        page: PageIndex,
        decompressors: &Decompressors,
        keys: &Keys,
    ) -> Result<PageAt, StoreError> {
        let Some(of_block) = self.blocks.get(block.0).filter(|b| page.0 < b.pages) else {
            let text = format!("there is no page {} in RAM block {}", page.0, block.0);
            return Err(StoreError::Misuse(text));
        };
        let (number, at) = (page.0 / self.chunk_pages, page.0 % self.chunk_pages);
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let pages = (of_block.pages - (page.0 - at)).min(self.chunk_pages);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        match self.chunk(of_block.first + number, pages, decompressors, keys)? {
            Pages::Alike(page) => Ok(page),
            Pages::Words(words) => Ok(words[at].into()),
        }
    }

    /// Shows where every page is, block by block, in order.
    pub(crate) fn for_each(
        &self,
        decompressors: &Decompressors,
        keys: &Keys,
        mut visit: impl FnMut(BlockIndex, PageIndex, PageAt) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for (index, block) in self.blocks.iter().enumerate() {
            let index = BlockIndex(index);
            let mut first = 0;
            let mut number = block.first;
            while first < block.pages {
                let pages = (block.pages - first).min(self.chunk_pages);
                match self.chunk(number, pages, decompressors, keys)? {
                    Pages::Alike(PageAt::Absent) => {}
                    Pages::Alike(page) => {
                        for at in first..first + pages {
                            visit(index, PageIndex(at), page)?;
                        }
                    }
                    Pages::Words(words) => {
                        for (at, word) in (first..).zip(words) {
                            visit(index, PageIndex(at), (*word).into())?;
                        }
                    }
                }
                first += pages;
                number += 1;
            }
        }
        Ok(())
    }

    /// The chunk with this number, of this many pages. Two threads that want the same chunk at the
    /// same time both load it: nobody waits for somebody else's read.
    fn chunk(
        &self,
        number: usize,
        pages: u64,
        decompressors: &Decompressors,
        keys: &Keys,
    ) -> Result<Pages<'_>, StoreError> {
        let Some(chunk) = self.chunks.get(number) else {
            return Err(StoreError::Unreachable("a chunk beyond the map table"));
        };
        match chunk.entry.codec {
            CODEC_ABSENT => return Ok(Pages::Alike(PageAt::Absent)),
            CODEC_ZERO => return Ok(Pages::Alike(PageAt::Zero)),
            _ => {}
        }
        if let Some(words) = chunk.words.get() {
            return Ok(Pages::Words(words));
        }
        let loaded = self.load(&chunk.entry, pages, decompressors, keys)?;
        Ok(Pages::Words(chunk.words.get_or_init(|| loaded)))
    }

    fn load(
        &self,
        entry: &ChunkEntry,
        pages: u64,
        decompressors: &Decompressors,
        keys: &Keys,
    ) -> Result<Box<[Word]>, StoreError> {
        let pages = usize::try_from(pages)
            .map_err(|_| StoreError::Unreachable("a chunk is larger than memory"))?;
        let (offset, length) = (entry.offset.get(), u64::from(entry.length.get()));
        let bad = |expected: String, found: String| {
            StoreError::damaged(self.name, "chunk of the page map", expected, found).at(offset)
        };
        // A state and at most a place for each page.
        let most = pages * 9;
        let stored = most as u64 + u64::from(MAX_CODEC_OVERHEAD);
        let end = self.span.offset + self.span.length;
        let inside = offset >= self.span.offset && offset.saturating_add(length) <= end;
        if !inside || length > stored {
            let found = format!("{length} bytes at {offset:#x}");
            return Err(bad(format!("at most {stored} bytes below {end:#x}"), found));
        }
        let bytes = read_chunk(
            &*self.object,
            (self.name, "chunk of the page map"),
            (offset, length),
            stored,
            Digest::from_bytes(entry.digest),
            keys,
        )?;
        let raw = match entry.codec {
            CODEC_RAW => bytes,
            CODEC_ZSTD => decompressors
                .decompress_up_to(&bytes, most)
                .map_err(|error| bad("bytes that decompress".into(), error.to_string()))?,
            codec => return Err(bad("codec 0 to 3".into(), codec.to_string())),
        };
        let decoded = decode(&raw, pages)
            .map_err(|found| bad(format!("states and places of {pages} pages"), found.into()))?;
        let beyond = |page: &&PageAt| matches!(page, PageAt::Stored(p) if p.pack() >= self.packs);
        if let Some(page) = decoded.iter().find(beyond) {
            let expected = format!("places in {} packs", self.packs);
            return Err(bad(expected, format!("{page:?}")));
        }
        Ok(decoded.into_iter().map(Word::from).collect())
    }
}

/// The parts of a table that makes sense; else what does not.
fn check_table(
    bytes: &[u8],
    manifest: &Manifest,
) -> Result<(TableHead, Vec<Block>, Vec<Chunk>), String> {
    let short = || format!("{} bytes", bytes.len());
    let (head, rest) = TableHead::read_from_prefix(bytes).map_err(|_| short())?;
    let chunk_pages = head.chunk_pages.get();
    let records = &manifest.ram.blocks;
    let sane = chunk_pages.is_power_of_two()
        && (MIN_MAP_CHUNK_PAGES..=MAX_MAP_CHUNK_PAGES).contains(&chunk_pages)
        && head.blocks.get() as usize == records.len()
        && head.packs.get() as usize == manifest.packs.len();
    if !sane {
        return Err(format!("{head:?}"));
    }
    let lengths = records.len() * size_of::<u64>();
    let (lengths, entries) = rest.split_at_checked(lengths).ok_or_else(short)?;
    let mut blocks = Vec::with_capacity(records.len());
    let mut first: u64 = 0;
    for (length, record) in lengths.chunks_exact(8).zip(records) {
        let pages = length.try_into().map_or(u64::MAX, u64::from_le_bytes);
        if pages != record.used_length / manifest.ram.page_size {
            return Err(format!("{pages} pages in '{}'", record.idstr));
        }
        blocks.push(Block {
            pages,
            first: usize::try_from(first).unwrap_or(usize::MAX),
        });
        first = first.saturating_add(pages.div_ceil(chunk_pages.into()));
    }
    let chunks: Vec<Chunk> = entries
        .chunks_exact(size_of::<ChunkEntry>())
        .filter_map(|entry| ChunkEntry::read_from_bytes(entry).ok())
        .map(|entry| Chunk {
            entry,
            words: OnceLock::new(),
        })
        .collect();
    if chunks.len() as u64 != first || entries.len() % size_of::<ChunkEntry>() != 0 {
        return Err(format!("{} bytes for {first} chunks", entries.len()));
    }
    Ok((head, blocks, chunks))
}

enum Pages<'a> {
    Alike(PageAt),
    Words(&'a [Word]),
}
