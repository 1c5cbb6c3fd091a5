//! Removing manifests, objects and what dead saves left.
//!
//! The invariant: an object is removed only when the manifests that named it are durably gone.

use std::sync::Arc;

use super::root::{CHECKPOINTS, Root};
use crate::backend::Removal;
use crate::backend::files::{Lock, Locked, OpenFile};
use crate::error::StoreError;
use crate::name::{CheckpointName, ObjectName, VmName};

pub(super) struct DirRemoval {
    root: Arc<Root>,
    removals: Removals,
    _lock: Box<dyn OpenFile>,
}

/// Whether the manifests that are gone will still be gone after a power failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removals {
    /// Somebody may have died between removing a manifest and syncing its directory.
    Unsure,
    Durable,
}

impl DirRemoval {
    /// The right to remove, of whoever holds the store's lock exclusively.
    pub(super) fn new(root: Arc<Root>, lock: Box<dyn OpenFile>) -> Self {
        Self {
            root,
            removals: Removals::Unsure,
            _lock: lock,
        }
    }
}

impl Removal for DirRemoval {
    fn remove_checkpoint(&mut self, name: &CheckpointName) -> Result<(), StoreError> {
        let path = self.root.manifest(name);
        let locked = self.root.files.lock(&path, Lock::TryExclusive);
        let locked = locked.map_err(|error| self.root.error("lock", &path, error))?;
        let Locked::Held(_lock) = locked else {
            return Err(StoreError::InUse {
                checkpoint: name.clone(),
            });
        };
        self.root.remove_if_there(&path)?;
        let directory = self.root.path.join(CHECKPOINTS).join(name.vm.as_str());
        self.root.sync_dir(&directory)?;
        // Not empty: there are other checkpoints of this VM.
        let _ = self.root.files.remove_dir(&directory);
        Ok(())
    }

    fn remove_object(&mut self, name: ObjectName) -> Result<(), StoreError> {
        if self.removals == Removals::Unsure {
            let checkpoints = self.root.path.join(CHECKPOINTS);
            let names = self.root.read_dir(&checkpoints)?;
            for vm in names.iter().filter(|name| name.parse::<VmName>().is_ok()) {
                self.root.sync_dir(&checkpoints.join(vm))?;
            }
            self.removals = Removals::Durable;
        }
        self.root.remove_if_there(&self.root.object(name))
    }

    fn remove_stale_sessions(&mut self) -> Result<usize, StoreError> {
        self.root.remove_stale_sessions()
    }
}
