//! Deleting checkpoints, and sweeping up what crashes left.
//!
//! The invariant: a manifest is durably gone before anything that it named is removed, and nothing is removed
//! that another manifest may name.

use std::collections::BTreeSet;

use super::Store;
use crate::backend::{Outcome, Removal};
use crate::error::StoreError;
use crate::name::{CheckpointName, Folder, Key, ObjectKind, ObjectName};

/// What a deletion removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deleted {
    /// Objects that nothing else needs.
    pub objects: Vec<ObjectName>,
    /// Checkpoints whose manifests cannot be read: because it is not known what they need, no object was
    /// removed. Empty if all is well.
    pub unreadable: Vec<CheckpointName>,
}

/// What a sweep removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Objects that no manifest names.
    pub objects: Vec<ObjectName>,
    /// Saves whose process died.
    pub sessions: usize,
    /// Checkpoints whose manifests cannot be read: because it is not known what they need, no object was
    /// removed. Empty if all is well.
    pub unreadable: Vec<CheckpointName>,
}

/// What the manifests of a store name.
#[derive(Default)]
struct Needed {
    objects: BTreeSet<ObjectName>,
    /// Checkpoints whose manifests cannot be read.
    unreadable: Vec<CheckpointName>,
}

impl Store {
    /// Deletes a checkpoint and what no other checkpoint needs.
    ///
    /// # Errors
    /// It is not there, somebody reads it, or the environment does not let us write.
    pub fn delete(&self, name: &CheckpointName) -> Result<Deleted, StoreError> {
        let mut removal = self.backend.guard().exclusive()?;
        // A manifest that cannot be read can be deleted, but what it named is left to a sweep.
        let ours = match self.manifest(name) {
            Ok(None) => return Err(self.no_such(name)?),
            Ok(Some(manifest)) => manifest.objects(),
            Err(error @ StoreError::Io { .. }) => return Err(error),
            Err(_) => Vec::new(),
        };
        let needed = self.needed(Some(name))?;
        if removal.remove(&name.manifest())? == Outcome::Held {
            return Err(StoreError::InUse {
                checkpoint: name.clone(),
            });
        }
        let sidecars = name.sidecars();
        for (key, length) in sidecars.iter().zip(self.backend.lengths(&sidecars)?) {
            if length.is_some() {
                removal.discard(key)?;
            }
        }
        let mut deleted = Deleted {
            objects: Vec::new(),
            unreadable: needed.unreadable,
        };
        if deleted.unreadable.is_empty() {
            let ours: BTreeSet<ObjectName> = ours.into_iter().collect();
            for object in ours.difference(&needed.objects) {
                removal.discard(&object.key())?;
                deleted.objects.push(*object);
            }
        }
        Ok(deleted)
    }

    /// Removes what crashes left: objects that no manifest names, files next to manifests that are gone, and
    /// temporary files.
    ///
    /// # Errors
    /// The environment does not let us.
    pub fn sweep(&self) -> Result<Swept, StoreError> {
        let mut removal = self.backend.guard().exclusive()?;
        let sessions = removal.remove_stale_sessions()?;
        self.sweep_sidecars(&mut *removal)?;
        let needed = self.needed(None)?;
        let mut swept = Swept {
            objects: Vec::new(),
            sessions,
            unreadable: needed.unreadable,
        };
        if swept.unreadable.is_empty() {
            for object in self.objects()? {
                if !needed.objects.contains(&object) {
                    removal.discard(&object.key())?;
                    swept.objects.push(object);
                }
            }
        }
        Ok(swept)
    }

    /// Removes the files next to manifests that are gone.
    fn sweep_sidecars(&self, removal: &mut dyn Removal) -> Result<(), StoreError> {
        let keys = self.backend.list(Folder::Checkpoints)?;
        let checkpoints: BTreeSet<_> = keys.iter().filter_map(Key::checkpoint).collect();
        for key in &keys {
            if key
                .sidecar_of()
                .is_some_and(|name| !checkpoints.contains(&name))
            {
                removal.discard(key)?;
            }
        }
        Ok(())
    }

    /// All objects, whether a manifest names them or not.
    pub(crate) fn objects(&self) -> Result<Vec<ObjectName>, StoreError> {
        let mut objects = Vec::new();
        for kind in ObjectKind::ALL {
            let keys = self.backend.list(Folder::Objects(kind))?;
            objects.extend(keys.iter().filter_map(Key::object));
        }
        Ok(objects)
    }

    /// What the manifests name, other than that of `except`.
    fn needed(&self, except: Option<&CheckpointName>) -> Result<Needed, StoreError> {
        let mut needed = Needed::default();
        for name in self.names()? {
            if Some(&name) == except {
                continue;
            }
            match self.manifest(&name) {
                Ok(None) => {}
                Ok(Some(manifest)) => needed.objects.extend(manifest.objects()),
                Err(_) => needed.unreadable.push(name),
            }
        }
        Ok(needed)
    }
}
