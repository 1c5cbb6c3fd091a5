//! The packs that a checkpoint names: opened when they are first needed, and a bounded number at a time.

use std::sync::{Arc, OnceLock};

use super::cache::{Cache, Weight, cache};
use super::open_object;
use crate::backend::{Backend, Object};
use crate::digest::Keys;
use crate::error::StoreError;
use crate::manifest::{Manifest, PackRecord};
use crate::name::{CheckpointName, ObjectKind, ObjectName};
use crate::pack::PackIndex;

pub(super) struct Packs {
    backend: Arc<dyn Backend>,
    keys: Arc<Keys>,
    named_by: CheckpointName,
    page_size: u32,
    records: Vec<PackRecord>,
    /// Tables stay when files are closed: 48 bytes for each index chunk.
    indexes: Vec<OnceLock<Arc<PackIndex>>>,
    open: Cache<u32, OpenPack>,
}

/// A pack with its table in memory.
pub(super) struct OpenPack {
    /// Position in the manifest's list.
    pub(super) number: u32,
    pub(super) index: Arc<PackIndex>,
    pub(super) file: Box<dyn Object>,
}

impl Weight for OpenPack {
    fn weight(&self) -> u64 {
        1
    }
}

impl Packs {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        keys: Arc<Keys>,
        manifest: &Manifest,
        most_open: usize,
    ) -> Result<Self, StoreError> {
        let page_size = u32::try_from(manifest.ram.page_size)
            .map_err(|_| StoreError::Unreachable("a page size that was checked"))?;
        Ok(Self {
            backend,
            keys,
            named_by: manifest.name(),
            page_size,
            indexes: manifest.packs.iter().map(|_| OnceLock::new()).collect(),
            records: manifest.packs.clone(),
            // The cache keeps nothing that is heavier than half of it.
            open: cache(most_open.max(2) as u64, 1),
        })
    }

    /// The pack with this number.
    pub(super) fn get(&self, number: u32) -> Result<Arc<OpenPack>, StoreError> {
        self.open.get_or_insert_with(&number, || {
            let at = number as usize;
            let (Some(record), Some(index)) = (self.records.get(at), self.indexes.get(at)) else {
                return Err(StoreError::Unreachable("a pack beyond the manifest's list"));
            };
            let name = pack_name(record);
            let file = open_object(&*self.backend, name, record.size, &self.named_by)?;
            let index = match index.get() {
                Some(index) => index,
                None => {
                    let read = PackIndex::read(&*file, record, self.page_size, &self.keys)?;
                    index.get_or_init(|| Arc::new(read))
                }
            };
            let index = Arc::clone(index);
            Ok(Arc::new(OpenPack {
                number,
                index,
                file,
            }))
        })
    }
}

pub(super) fn pack_name(record: &PackRecord) -> ObjectName {
    ObjectName {
        kind: ObjectKind::Pack,
        digest: record.digest,
    }
}
