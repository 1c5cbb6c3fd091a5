//! Reading a checkpoint: any page at any time, all pages in the cheapest order, and device state.
//!
//! The invariant: a page that is handed out has been compared with the digest that was taken when it
//! was saved, through an unbroken chain from the manifest. Opening a checkpoint reads the manifest and
//! the table of its page map, and nothing that grows with what is stored; everything else is loaded
//! when it is first asked for.

mod cache;
mod frame;
mod identity;
mod options;
mod order;
mod packs;
mod pool;
mod ranges;
mod scan;
mod verify;

pub use identity::PageIdentity;
pub use options::ReadOptions;
pub use verify::VerifyReport;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use vmferry::machine::{MachineState, SavedState};
use vmferry::ram::{
    BlockIndex, Page, PageIndex, PageKind, PageRange, PageSize, PageSource, RamBlocks,
};

use crate::backend::{Backend, Hold, Object};
use crate::codec::Decompressors;
use crate::digest::Keys;
use crate::error::StoreError;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{Manifest, PackRecord};
use crate::map::{PageAt, PageMap};
use crate::name::{CheckpointName, ObjectKind, ObjectName};
use crate::state::DeviceState;
use packs::Packs;
use pool::FramePool;

/// A checkpoint, open for reading. While it is open it cannot be deleted.
///
/// Any number of threads may read it at the same time, for one guest or for many: they share the frames
/// that are in memory.
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
    pool: FramePool,
    decompressors: Decompressors,
    pass_pages: u64,
    workers: usize,
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
        let packs = Packs::new(
            Arc::clone(&backend),
            Arc::clone(&keys),
            &manifest,
            options.open_packs,
        )?;
        let frame_bytes = largest_frame(&manifest);
        let pool_keys = Arc::clone(&keys);
        let checkpoint = Self {
            page_size,
            blocks: manifest.ram.to_blocks(),
            map,
            pool: FramePool::new(packs, pool_keys, page_size.bytes(), frame_bytes, &options),
            decompressors: Decompressors::default(),
            pass_pages: options.pass_pages,
            workers: options.worker_count(),
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

    /// Where a page is; its place counts the packs of the manifest.
    pub(crate) fn place(&self, block: BlockIndex, page: PageIndex) -> Result<PageAt, StoreError> {
        self.map
            .lookup(block, page, &self.decompressors, &self.keys)
    }

    /// How many frames have been decompressed since the checkpoint was opened. A frame that is in memory
    /// serves everybody who reads the checkpoint, and is not decompressed again.
    pub fn decompressed_frames(&self) -> u64 {
        self.pool.decoded()
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
        let frame = self.pool.frame(place)?;
        out.copy_from_slice(frame.page(place.slot(), &self.keys)?);
        Ok(PageKind::Data)
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.scan(wanted, visit)
    }

    fn pages_of(
        &self,
        block: BlockIndex,
        pages: Range<PageIndex>,
        visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut range = [PageRange { block, pages }].into_iter();
        self.show_ranges(&mut range, &mut |_, page, content| visit(page, content))
    }

    fn read(
        &self,
        wanted: &mut dyn Iterator<Item = PageRange>,
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.show_ranges(wanted, visit)
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
fn largest_frame(manifest: &Manifest) -> u64 {
    let bytes = |pack: &PackRecord| {
        let pages = pack.pages.div_ceil(pack.frames.max(1));
        pages.saturating_mul(manifest.ram.page_size)
    };
    let largest = manifest.packs.iter().map(bytes).max().unwrap_or(0);
    largest.max(4096)
}
