//! Where a store's bytes are: a directory now, an object store later.
//!
//! The contract behind [`Backend`]: what a [`Session`] wrote is invisible until
//! [`Session::commit`], which makes the manifest the last thing to appear, after everything that it
//! names is durable; names are digests or unique ids, so writing the same name twice is harmless;
//! and the holder of a [`Removal`] is alone with the names of the store.

mod dir;
mod files;
#[cfg(test)]
pub(crate) mod sim;

pub use dir::DirBackend;

use std::fmt;
use std::sync::Arc;

use crate::error::StoreError;
use crate::name::{CheckpointName, ObjectName};

/// A place for a store. All calls block.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Where the store is, for messages.
    fn location(&self) -> String;

    /// The content of the store file.
    ///
    /// # Errors
    /// There is none ([`StoreError::NotAStore`]), or it could not be read.
    fn config(&self) -> Result<Vec<u8>, StoreError>;

    /// Begins a save, and removes what is left of saves whose process died.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn begin(&self) -> Result<Arc<dyn Session>, StoreError>;

    /// Opens an object; `None` if it is not there.
    ///
    /// # Errors
    /// It is there, but cannot be opened.
    fn open(&self, name: ObjectName) -> Result<Option<Box<dyn Object>>, StoreError>;

    /// All objects, whether a manifest names them or not.
    ///
    /// # Errors
    /// A directory could not be read.
    fn objects(&self) -> Result<Vec<ObjectName>, StoreError>;

    /// All checkpoints: whatever has a manifest, be it readable or not.
    ///
    /// # Errors
    /// A directory could not be read.
    fn checkpoints(&self) -> Result<Vec<CheckpointName>, StoreError>;

    /// Opens a manifest; `None` if it is not there.
    ///
    /// # Errors
    /// It is there, but cannot be opened.
    fn manifest(&self, name: &CheckpointName) -> Result<Option<Box<dyn Object>>, StoreError>;

    /// Opens a manifest and keeps the checkpoint from being deleted for as long as the object is
    /// held; `None` if it is not there.
    ///
    /// # Errors
    /// It is there, but cannot be opened.
    fn hold(&self, name: &CheckpointName) -> Result<Option<Box<dyn Object>>, StoreError>;

    /// Waits until no save is being published, and keeps others from beginning to.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn exclusive(&self) -> Result<Box<dyn Removal>, StoreError>;
}

/// A save in progress. Dropping it without a commit removes all that it wrote.
pub trait Session: Send + Sync {
    /// Begins an object.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn create(&self) -> Result<Box<dyn Upload>, StoreError>;

    /// Makes a checkpoint of `objects`, which have all been sealed in this session or are known to
    /// be there, and its manifest.
    ///
    /// # Errors
    /// The environment does not let us write; the checkpoint is then not there.
    fn commit(
        &self,
        objects: &[ObjectName],
        name: &CheckpointName,
        manifest: &[u8],
    ) -> Result<(), StoreError>;
}

/// An object that is being written. Dropping it abandons it.
pub trait Upload: Send {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes what was written durable and gives it its name, under which it appears with the
    /// session's commit.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn seal(self: Box<Self>, name: ObjectName) -> Result<(), StoreError>;
}

/// An object or a manifest, open for reading at any offset by any thread.
pub trait Object: Send + Sync {
    /// How long it is.
    fn length(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// There are not that many, or they could not be read.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError>;
}

/// The right to remove things, held by one process at a time.
pub trait Removal: Send {
    /// Removes a manifest, durably, and then the files next to it.
    ///
    /// # Errors
    /// Somebody reads it ([`StoreError::InUse`]), or the environment does not let us.
    fn remove_checkpoint(&mut self, name: &CheckpointName) -> Result<(), StoreError>;

    /// Replaces a manifest by another one of the same checkpoint, durably. `objects` is everything that the new
    /// one names.
    ///
    /// # Errors
    /// Somebody reads the checkpoint ([`StoreError::InUse`]), an object is not there, or the environment does
    /// not let us write; the old manifest is then still there.
    fn replace_checkpoint(
        &mut self,
        name: &CheckpointName,
        objects: &[ObjectName],
        manifest: &[u8],
    ) -> Result<(), StoreError>;

    /// Removes an object.
    ///
    /// # Errors
    /// The environment does not let us.
    fn remove_object(&mut self, name: ObjectName) -> Result<(), StoreError>;

    /// Removes what is left of saves whose process died, and tells of how many.
    ///
    /// # Errors
    /// The environment does not let us.
    fn remove_stale_sessions(&mut self) -> Result<usize, StoreError>;

    /// Removes the files next to manifests whose manifest is gone.
    ///
    /// # Errors
    /// The environment does not let us.
    fn remove_stray_sidecars(&mut self) -> Result<(), StoreError>;
}

/// All bytes of a small object.
pub(crate) fn read_all(object: &dyn Object, file: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
    let length = object.length();
    if length > limit {
        let expected = format!("at most {limit} bytes");
        return Err(StoreError::damaged(file, "size", expected, length));
    }
    let length = usize::try_from(length)
        .map_err(|_| StoreError::damaged(file, "size", "what fits in memory", length))?;
    let mut bytes = vec![0; length];
    object.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
