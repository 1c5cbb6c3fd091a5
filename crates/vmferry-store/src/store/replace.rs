//! Replacing the manifest of a checkpoint.
//!
//! The invariants: a manifest that somebody reads is not replaced, and a manifest never names what is not there.

use super::Store;
use crate::backend::Outcome;
use crate::error::StoreError;
use crate::manifest::Manifest;
use crate::name::ObjectName;

impl Store {
    /// Replaces the manifest of a checkpoint by another one of the same name. Objects that only the old one named
    /// are left to a sweep.
    ///
    /// # Errors
    /// There is no such checkpoint, or somebody reads it ([`StoreError::InUse`]); an object that the new manifest
    /// names is not there ([`StoreError::Missing`]); or the environment does not let us write. The old manifest is
    /// then still there.
    pub fn replace(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let name = manifest.name();
        let json = manifest.to_json(&self.keys)?;
        let mut removal = self.backend.guard().exclusive()?;
        if self.backend.lengths(&[name.manifest()])? == [None] {
            return Err(self.no_such(&name)?);
        }
        // Looked at under the lock: nothing is removed until the new manifest names it.
        let objects = manifest.objects();
        let keys: Vec<_> = objects.iter().map(ObjectName::key).collect();
        for (key, length) in keys.iter().zip(self.backend.lengths(&keys)?) {
            if length.is_none() {
                return Err(StoreError::missing(key, format_args!("checkpoint {name}")));
            }
        }
        match removal.replace(&name.manifest(), &json)? {
            Outcome::Done => Ok(()),
            Outcome::Held => Err(StoreError::InUse { checkpoint: name }),
        }
    }
}
