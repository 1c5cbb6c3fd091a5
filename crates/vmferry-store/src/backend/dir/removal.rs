//! Removing and replacing files, and removing what dead saves left.
//!
//! The invariants: an object is removed only when the manifests that named it are durably gone; and a
//! manifest that somebody reads keeps its name, so that the next one who removes finds the reader's lock.

use std::path::Path;
use std::sync::Arc;

use super::layout::{REPLACEMENT, TEMPORARY};
use super::root::Root;
use crate::backend::files::{Lock, Locked, OpenFile};
use crate::backend::{Outcome, Removal};
use crate::error::StoreError;
use crate::name::{Folder, Key};

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

    /// Syncs the directories of all manifests, once.
    fn make_removals_durable(&mut self) -> Result<(), StoreError> {
        if self.removals == Removals::Durable {
            return Ok(());
        }
        let checkpoints = self.root.path.join(Folder::Checkpoints.as_str());
        for name in self.root.read_dir(&checkpoints)? {
            // Other names are not of the store.
            if name.parse::<Key>().is_ok() {
                self.root.sync_dir(&checkpoints.join(name))?;
            }
        }
        self.removals = Removals::Durable;
        Ok(())
    }

    /// Removes the directory of a VM once nothing is in it.
    fn remove_empty_parent(&self, path: &Path) {
        let checkpoints = self.root.path.join(Folder::Checkpoints.as_str());
        let parent = path.parent().filter(|parent| *parent != checkpoints);
        if let Some(parent) = parent.filter(|parent| parent.starts_with(&checkpoints)) {
            // Not empty: there are other files of this VM.
            let _ = self.root.files.remove_dir(parent);
        }
    }
}

impl Removal for DirRemoval {
    fn remove(&mut self, key: &Key) -> Result<Outcome, StoreError> {
        let path = self.root.path_of(key);
        // The lock is on the file, not on its name: it is held until the name is gone.
        let locked = self.root.files.lock(&path, Lock::TryExclusive);
        let locked = locked.map_err(|error| self.root.error("lock", &path, error))?;
        let Locked::Held(_lock) = locked else {
            return Ok(Outcome::Held);
        };
        self.root.remove_if_there(&path)?;
        self.root.sync_parent(key)?;
        self.remove_empty_parent(&path);
        Ok(Outcome::Done)
    }

    fn replace(&mut self, key: &Key, content: &[u8]) -> Result<Outcome, StoreError> {
        let path = self.root.path_of(key);
        // Locked until the name is that of the new file: a reader who comes meanwhile waits, and then opens
        // the new one.
        let locked = self.root.files.lock(&path, Lock::TryExclusive);
        let locked = locked.map_err(|error| self.root.error("lock", &path, error))?;
        let Locked::Held(_lock) = locked else {
            return Ok(Outcome::Held);
        };
        let staged = self.root.path.join(TEMPORARY).join(REPLACEMENT);
        self.root.remove_if_there(&staged)?;
        self.root.write_file(&staged, content)?;
        self.root.rename(&staged, &path)?;
        self.root.sync_parent(key)?;
        Ok(Outcome::Done)
    }

    fn discard(&mut self, key: &Key) -> Result<(), StoreError> {
        self.make_removals_durable()?;
        let path = self.root.path_of(key);
        self.root.remove_if_there(&path)?;
        self.remove_empty_parent(&path);
        Ok(())
    }

    fn remove_stale_sessions(&mut self) -> Result<usize, StoreError> {
        self.root.remove_stale_sessions()
    }
}
