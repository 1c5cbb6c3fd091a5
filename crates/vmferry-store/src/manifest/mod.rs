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
use crate::limits::MAX_PACKS;
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
        self.sizes().map(|(name, _)| name).collect()
    }

    /// Everything that the manifest names, with its size in bytes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (ObjectName, u64)> {
        let named = |kind, digest, size| (ObjectName { kind, digest }, size);
        let packs = self.packs.iter();
        packs
            .map(move |pack| named(ObjectKind::Pack, pack.digest, pack.size))
            .chain([
                named(ObjectKind::Map, self.ram.map.digest, self.ram.map.size),
                named(ObjectKind::State, self.state.digest, self.state.size),
            ])
    }

    /// The manifest file's content.
    ///
    /// # Errors
    /// It would be larger than the format allows.
    pub fn to_json(&self, keys: &Keys) -> Result<Vec<u8>, StoreError> {
        if self.packs.len() > MAX_PACKS {
            return Err(StoreError::TooLarge {
                what: "the number of packs",
                found: self.packs.len() as u64,
                limit: MAX_PACKS as u64,
            });
        }
        envelope::seal(self, keys)
    }

    /// Reads a manifest file's content; `name` is where it was found.
    ///
    /// # Errors
    /// It is no manifest, one of a newer version or with unknown features, a damaged one, or that of
    /// another checkpoint.
    pub fn parse(name: &CheckpointName, json: &[u8], keys: &Keys) -> Result<Self, StoreError> {
        let file = name.manifest();
        let manifest: Self = envelope::open(file.as_str(), json, keys)?;
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
        manifest.check(file.as_str())?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, StoreKey};
    use crate::limits::{MAX_BLOCKS, MAX_FRAMES, MAX_IDSTR_BYTES, MAX_OBJECT_BYTES};

    fn largest() -> Manifest {
        let digest = Digest::from_bytes([0xab; 32]);
        let object = ObjectRef {
            digest,
            size: MAX_OBJECT_BYTES,
        };
        let pack = PackRecord {
            digest,
            size: MAX_OBJECT_BYTES,
            frames: MAX_FRAMES,
            pages: 1 << 36,
        };
        let block = |number: usize| BlockRecord {
            idstr: format!("{number:04}{}", "/".repeat(MAX_IDSTR_BYTES - 4)),
            used_length: 1 << 40,
            host_page_size: Some(1 << 40),
            pages: PageCounts {
                absent: 1 << 28,
                ..PageCounts::default()
            },
        };
        Manifest {
            vm: "vm".parse().unwrap(),
            id: "1".parse().unwrap(),
            created: jiff::Timestamp::UNIX_EPOCH,
            parent: None,
            ram: RamRecord {
                page_size: 4096,
                blocks: (0..MAX_BLOCKS).map(block).collect(),
                map: object,
            },
            state: object,
            packs: vec![pack; MAX_PACKS],
            machine: Machine::default(),
            block_devices: Vec::new(),
            save: SaveRecord::default(),
            statistics: Statistics::default(),
            warnings: Vec::new(),
            labels: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn as_many_packs_as_the_format_allows_fit_into_a_manifest() {
        let keys = Keys::derive(&StoreKey::from_bytes([7; 32]));
        let mut manifest = largest();
        assert!(manifest.to_json(&keys).is_ok());
        manifest.packs.push(manifest.packs[0]);
        let error = manifest.to_json(&keys).unwrap_err().to_string();
        assert_eq!(
            error,
            "the number of packs is 65537, the store's limit is 65536"
        );
    }
}
