//! Removing and replacing manifests, and removing objects and what dead saves left.
//!
//! The invariants: an object is removed only when the manifests that named it are durably gone; and a
//! manifest that somebody reads keeps its name, so that the next one who removes finds the reader's lock.

use std::path::PathBuf;
use std::sync::Arc;

use super::root::{CHECKPOINTS, MANIFEST_EXTENSION, Root, TEMPORARY};
use crate::backend::Removal;
use crate::backend::files::{Lock, Locked, OpenFile};
use crate::error::StoreError;
use crate::name::{CheckpointId, CheckpointName, ObjectName, VmName};

/// The name, in the temporary directory, of a manifest that is to replace another one. A sweep removes it.
const REPLACEMENT: &str = "replacement.json";

pub(super) struct DirRemoval {
    root: Arc<Root>,
    removals: Removals,
    _lock: Box<dyn OpenFile>,
}

/// Whether the manifests that are gone will still be gone after a power failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removals {
    /// A process may have died between removing a manifest and syncing its directory.
    Unsure,
    Durable,
}

impl DirRemoval {
    /// The right to remove, given the store's lock, held exclusively.
    pub(super) fn new(root: Arc<Root>, lock: Box<dyn OpenFile>) -> Self {
        Self {
            root,
            removals: Removals::Unsure,
            _lock: lock,
        }
    }
}

impl DirRemoval {
    /// Locks the manifest of a checkpoint that nobody reads. The lock is on the file, not on its name: it must
    /// be held until the name is gone, or is that of another file.
    fn lock_unread(&self, name: &CheckpointName) -> Result<Box<dyn OpenFile>, StoreError> {
        let path = self.root.manifest(name);
        let locked = self.root.files.lock(&path, Lock::TryExclusive);
        match locked.map_err(|error| self.root.error("lock", &path, error))? {
            Locked::Held(lock) => Ok(lock),
            Locked::Busy => Err(StoreError::InUse {
                checkpoint: name.clone(),
            }),
        }
    }

    fn directory_of(&self, vm: &VmName) -> PathBuf {
        self.root.path.join(CHECKPOINTS).join(vm.as_str())
    }
}

impl Removal for DirRemoval {
    fn remove_checkpoint(&mut self, name: &CheckpointName) -> Result<(), StoreError> {
        let _lock = self.lock_unread(name)?;
        self.root.remove_if_there(&self.root.manifest(name))?;
        let directory = self.directory_of(&name.vm);
        self.root.sync_dir(&directory)?;
        for file in name.sidecar_files() {
            self.root.remove_if_there(&self.root.path.join(file))?;
        }
        // Not empty: there are other checkpoints of this VM.
        let _ = self.root.files.remove_dir(&directory);
        Ok(())
    }

    fn replace_checkpoint(
        &mut self,
        name: &CheckpointName,
        objects: &[ObjectName],
        manifest: &[u8],
    ) -> Result<(), StoreError> {
        let _lock = self.lock_unread(name)?;
        for object in objects {
            if self.root.open(&self.root.object(*object))?.is_none() {
                return Err(StoreError::Missing {
                    object: *object,
                    named_by: format!("the new manifest of {name}"),
                });
            }
        }
        let staged = self.root.path.join(TEMPORARY).join(REPLACEMENT);
        self.root.remove_if_there(&staged)?;
        self.root.write_file(&staged, manifest)?;
        self.root.rename(&staged, &self.root.manifest(name))?;
        self.root.sync_dir(&self.directory_of(&name.vm))
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

    fn remove_stray_sidecars(&mut self) -> Result<(), StoreError> {
        let checkpoints = self.root.path.join(CHECKPOINTS);
        for vm in self.root.read_dir(&checkpoints)? {
            if vm.parse::<VmName>().is_err() {
                continue;
            }
            let directory = checkpoints.join(vm);
            let files = self.root.read_dir(&directory)?;
            for file in &files {
                let mut extensions = CheckpointName::SIDECAR_EXTENSIONS.iter();
                let Some(id) = extensions.find_map(|extension| file.strip_suffix(extension)) else {
                    continue;
                };
                let manifest = format!("{id}{MANIFEST_EXTENSION}");
                if id.parse::<CheckpointId>().is_ok() && !files.contains(&manifest) {
                    self.root.remove_if_there(&directory.join(file))?;
                }
            }
            // Not empty: there are checkpoints of this VM.
            let _ = self.root.files.remove_dir(&directory);
        }
        Ok(())
    }
}
