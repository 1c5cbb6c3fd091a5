//! Reading a checkpoint: any page at any time, all pages in the cheapest order, and device state.
//!
//! The invariant: a page that is handed out has been compared with the digest that was taken when it
//! was saved, through an unbroken chain from the manifest. Opening a checkpoint reads the manifest and
//! the table of its page map, and nothing that grows with what is stored; everything else is loaded
//! when it is first asked for.

mod identity;
mod lru;
mod scan;
mod verify;

pub use identity::PageIdentity;
pub use verify::VerifyReport;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use vmferry::machine::{MachineState, SavedState};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlocks};

use crate::backend::{Backend, Hold, Object};
use crate::codec::Decompressors;
use crate::digest::Keys;
use crate::error::StoreError;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{Manifest, PackRecord};
use crate::map::{PageAt, PageMap};
use crate::name::{CheckpointName, ObjectKind, ObjectName};
use crate::pack::{Frame, IndexChunk, PackIndex, Place};
use crate::state::DeviceState;
use lru::Lru;

/// Pack files that are kept open.
const OPEN_PACKS: usize = 128;
/// Index chunks that are kept: a megabyte of pages each takes about 8 KiB.
const INDEX_CHUNKS: usize = 512;

/// How to read. [`ReadOptions::default`] suits a machine of the usual kind.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Bytes of decompressed frames that [`PageSource::page`] keeps.
    pub cache_bytes: usize,
    /// Threads with which [`PageSource::pages`] decompresses and verifies; default: one for each core.
    pub workers: Option<NonZeroUsize>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            workers: None,
        }
    }
}

impl ReadOptions {
    /// Sets how many bytes of decompressed frames are kept.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets the number of threads that decompress and verify.
    #[must_use]
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = Some(workers);
        self
    }
}

/// A checkpoint, open for reading. While it is open it cannot be deleted.
pub struct Checkpoint {
    manifest: Manifest,
    /// Keeps the checkpoint from being deleted.
    _hold: Box<dyn Hold>,
    name: CheckpointName,
    backend: Arc<dyn Backend>,
    keys: Arc<Keys>,
    page_size: PageSize,
    blocks: RamBlocks,
    map: PageMap,
    indexes: Vec<OnceLock<PackIndex>>,
    files: Lru<u32, Arc<dyn Object>>,
    chunks: Lru<(u32, u32), Arc<IndexChunk>>,
    frames: Lru<(u32, u32), Arc<DecodedFrame>>,
    decompressors: Decompressors,
    workers: usize,
}

/// A frame in memory; its pages are verified one by one as they are handed out.
struct DecodedFrame {
    frame: Frame,
    index: Arc<IndexChunk>,
    pages: Vec<u8>,
}

impl Checkpoint {
    pub(crate) fn open(
        backend: Arc<dyn Backend>,
        keys: Arc<Keys>,
        name: &CheckpointName,
        options: ReadOptions,
    ) -> Result<Self, StoreError> {
        let key = name.manifest();
        let no_such = || StoreError::NoSuchCheckpoint {
            vm: name.vm.clone(),
            id: name.id.to_string(),
            candidates: Vec::new(),
        };
        // Held first: from here on the manifest is neither removed nor replaced.
        let hold = backend.guard().hold(&key)?.ok_or_else(no_such)?;
        let json = backend
            .read(&key, MAX_MANIFEST_BYTES)?
            .ok_or_else(no_such)?;
        let manifest = Manifest::parse(name, &json, &keys)?;
        let page_size = PageSize::new(manifest.ram.page_size)
            .ok_or(StoreError::Unreachable("a page size that was checked"))?;
        let map_name = ObjectName {
            kind: ObjectKind::Map,
            digest: manifest.ram.map.digest,
        };
        let size = manifest.ram.map.size;
        let map = open_object(&*backend, map_name, size, name)?;
        let map = PageMap::read(map, &manifest, &keys)?;
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let frames = options.cache_bytes / largest_frame(&manifest);
        let checkpoint = Self {
            page_size,
            blocks: manifest.ram.to_blocks(),
            map,
            indexes: manifest.packs.iter().map(|_| OnceLock::new()).collect(),
            files: Lru::new(OPEN_PACKS),
            chunks: Lru::new(INDEX_CHUNKS),
            frames: Lru::new(frames),
            decompressors: Decompressors::default(),
            workers: options.workers.map_or_else(cores, NonZeroUsize::get),
            manifest,
            _hold: hold,
            name: name.clone(),
            backend,
            keys,
        };
        checkpoint.check_presence()?;
        Ok(checkpoint)
    }

    /// What the checkpoint is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads and verifies the device state.
    ///
    /// # Errors
    /// It is damaged or missing, or could not be read.
    pub fn device_state(&self) -> Result<DeviceState, StoreError> {
        let reference = self.manifest.state;
        let name = ObjectName {
            kind: ObjectKind::State,
            digest: reference.digest,
        };
        let object = open_object(&*self.backend, name, reference.size, &self.name)?;
        DeviceState::read(&*object, reference, &self.keys)
    }

    /// Refuses a checkpoint of which a file is missing or has another length: that costs microseconds
    /// now, and a guest that has been started later.
    fn check_presence(&self) -> Result<(), StoreError> {
        let objects: Vec<_> = self.manifest.sizes().collect();
        let keys: Vec<_> = objects.iter().map(|(object, _)| object.key()).collect();
        for ((object, size), found) in objects.into_iter().zip(self.backend.lengths(&keys)?) {
            let found = found.ok_or_else(|| missing(object, &self.name))?;
            if found != size {
                let (expected, found) = (format!("{size} bytes"), format!("{found} bytes"));
                return Err(StoreError::damaged(object, "length", expected, found));
            }
        }
        Ok(())
    }

    fn place(&self, block: BlockIndex, page: PageIndex) -> Result<PageAt, StoreError> {
        self.map
            .lookup(block, page, &self.decompressors, &self.keys)
    }

    /// The pack with this number, and its open file.
    fn pack(&self, number: u32) -> Result<(&PackIndex, Arc<dyn Object>), StoreError> {
        let at = number as usize;
        let (Some(record), Some(index)) = (self.manifest.packs.get(at), self.indexes.get(at))
        else {
            return Err(StoreError::Unreachable("a pack beyond the manifest's list"));
        };
        let file = self.files.get_or(number, || {
            let name = pack_name(record);
            open_object(&*self.backend, name, record.size, &self.name).map(Arc::from)
        })?;
        if let Some(index) = index.get() {
            return Ok((index, file));
        }
        let page_size = self.page_size.bytes();
        let page_size = u32::try_from(page_size)
            .map_err(|_| StoreError::Unreachable("a page size that was checked"))?;
        let read = PackIndex::read(&*file, record, page_size, &self.keys)?;
        Ok((index.get_or_init(|| read), file))
    }

    /// The frame of a place, from the cache if it is there.
    fn frame(&self, place: Place) -> Result<(&PackIndex, Arc<DecodedFrame>), StoreError> {
        let (pack, file) = self.pack(place.pack())?;
        let key = (place.pack(), place.frame());
        let decoded = self.frames.get_or(key, || {
            let chunk = pack.chunk_of(place.frame())?;
            let index = self.chunks.get_or((place.pack(), chunk), || {
                pack.read_index(&*file, chunk, &self.keys).map(Arc::new)
            })?;
            let frame = *index.frame(place.frame())?;
            let mut stored = vec![0; frame.stored as usize];
            file.read_exact_at(&mut stored, frame.offset)?;
            let mut pages = Vec::new();
            pack.decode(&frame, &stored, &mut pages, &self.decompressors)?;
            Ok::<_, StoreError>(Arc::new(DecodedFrame {
                frame,
                index,
                pages,
            }))
        })?;
        Ok((pack, decoded))
    }
}

impl SavedState for Checkpoint {
    fn state(&self) -> Result<MachineState, StoreError> {
        Ok(self.device_state()?.to_machine_state())
    }

    fn kept_in(&self) -> String {
        format!("checkpoint {}", self.name)
    }
}

impl PageSource for Checkpoint {
    type Error = StoreError;

    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn blocks(&self) -> &RamBlocks {
        &self.blocks
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, StoreError> {
        let size = self.page_size.bytes();
        if out.len() != size {
            let text = format!("a buffer of {} bytes for a page of {size}", out.len());
            return Err(StoreError::Misuse(text));
        }
        let place = match self.place(block, page)? {
            PageAt::Absent => return Ok(PageKind::Absent),
            PageAt::Zero => return Ok(PageKind::Zero),
            PageAt::Stored(place) => place,
        };
        let (pack, decoded) = self.frame(place)?;
        let start = place.slot() * size;
        let Some(bytes) = decoded.pages.get(start..start + size) else {
            return Err(beyond(pack, &decoded.frame, place));
        };
        out.copy_from_slice(bytes);
        pack.verify(
            &decoded.index,
            &decoded.frame,
            place.slot(),
            out,
            &self.keys,
        )?;
        Ok(PageKind::Data)
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.scan(wanted, visit)
    }
}

/// A page map names a slot that its frame does not have.
fn beyond(pack: &PackIndex, frame: &Frame, place: Place) -> StoreError {
    let expected = format!("a slot below {}", frame.pages);
    StoreError::damaged(
        pack.name(),
        "slot that a page map names",
        expected,
        place.slot(),
    )
    .at(frame.offset)
}

fn pack_name(record: &PackRecord) -> ObjectName {
    ObjectName {
        kind: ObjectKind::Pack,
        digest: record.digest,
    }
}

/// Opens an object that must be there.
fn open_object(
    backend: &dyn Backend,
    object: ObjectName,
    size: u64,
    named_by: &CheckpointName,
) -> Result<Box<dyn Object>, StoreError> {
    let opened = backend.open(&object.key(), size)?;
    opened.ok_or_else(|| missing(object, named_by))
}

fn missing(object: ObjectName, named_by: &CheckpointName) -> StoreError {
    StoreError::missing(object, format_args!("checkpoint {named_by}"))
}

/// About how many bytes the largest frames have: what they have on average, and some more.
fn largest_frame(manifest: &Manifest) -> usize {
    let bytes = |pack: &PackRecord| {
        let pages = pack.pages.div_ceil(pack.frames.max(1));
        pages.saturating_mul(manifest.ram.page_size)
    };
    let largest = manifest.packs.iter().map(bytes).max().unwrap_or(0);
    usize::try_from(largest).unwrap_or(usize::MAX).max(4096)
}
