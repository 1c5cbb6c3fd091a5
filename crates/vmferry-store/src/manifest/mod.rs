//! The manifest: what a checkpoint is, which objects it is made of, and the machine it shows.
//!
//! The invariant: a [`Manifest`] that was read is the one that was written under this name with
//! this store's key; members and values that a later vmferry added survive as "not known here".

mod body;
mod envelope;

pub use body::{
    BlockDevice, BlockNode, BlockRecord, Endianness, Machine, Manifest, ObjectRef, PackRecord,
    PageCounts, RamRecord, SaveMode, SaveRecord, Statistics,
};

use crate::digest::Keys;
use crate::error::StoreError;
use crate::name::{CheckpointName, ObjectKind, ObjectName};

impl Manifest {
    /// Which checkpoint this is.
    pub fn name(&self) -> CheckpointName {
        CheckpointName {
            vm: self.vm.clone(),
            id: self.id.clone(),
        }
    }

    /// Everything that the manifest names.
    pub fn objects(&self) -> Vec<ObjectName> {
        let named = |kind, digest| ObjectName { kind, digest };
        let packs = self.packs.iter();
        packs
            .map(|pack| named(ObjectKind::Pack, pack.digest))
            .chain([
                named(ObjectKind::Map, self.ram.map.digest),
                named(ObjectKind::State, self.state.digest),
            ])
            .collect()
    }

    /// The manifest file's content.
    ///
    /// # Errors
    /// It would be larger than the format allows.
    pub fn to_json(&self, keys: &Keys) -> Result<Vec<u8>, StoreError> {
        envelope::seal(self, keys)
    }

    /// Reads a manifest file's content; `name` is where it was found.
    ///
    /// # Errors
    /// It is no manifest, one of a newer version or with unknown features, a damaged one, or that of
    /// another checkpoint.
    pub fn parse(name: &CheckpointName, json: &[u8], keys: &Keys) -> Result<Self, StoreError> {
        let file = name.manifest_file();
        let manifest: Self = envelope::open(&file, json, keys)?;
        if manifest.name() != *name {
            return Err(StoreError::damaged(
                file,
                "vm and id",
                name,
                format_args!(
                    "{}: a manifest must not be moved or copied to another name",
                    manifest.name()
                ),
            ));
        }
        manifest.check(&file)?;
        Ok(manifest)
    }
}
