//! Where a store's bytes are: in a directory, in memory, or in a place of your own.
//!
//! A [`Backend`] knows bytes and [`Key`]s, and nothing of what is in them. Its contract: what a [`Session`]
//! wrote is invisible until [`Session::publish`], which makes the head the last file to appear, after
//! everything else is durable; a key of an object stands for one content, so writing it twice is harmless.
//! Keeping readers, savers and removers apart is a part of its own, the [`Guard`].
//!
//! [`conformance::check`](crate::conformance::check) runs all of this against a backend.

mod dir;
mod files;
mod memory;
#[cfg(test)]
pub(crate) mod sim;

pub use dir::DirBackend;
pub use memory::MemoryBackend;

use std::fmt;
use std::sync::Arc;

use crate::error::StoreError;
use crate::name::{Folder, Key};

/// A place for a store. All calls block.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Where the store is, for messages.
    fn location(&self) -> String;

    /// Lays out an empty store: writes its first file, durably.
    ///
    /// # Errors
    /// There is a store already, or something else ([`StoreError::CannotCreate`]); or the environment does not
    /// let us write.
    fn create(&self, key: &Key, content: &[u8]) -> Result<(), StoreError>;

    /// A small file as a whole; `None` if it is not there.
    ///
    /// # Errors
    /// It is longer than `limit` bytes ([`StoreError::Damaged`]), or could not be read.
    fn read(&self, key: &Key, limit: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// Opens a file of `length` bytes; `None` if it is not there.
    ///
    /// A backend that is far away opens without looking: if the file is not there, or is shorter, the first read
    /// fails.
    ///
    /// # Errors
    /// It is there, but cannot be opened.
    fn open(&self, key: &Key, length: u64) -> Result<Option<Box<dyn Object>>, StoreError>;

    /// The lengths of files, in the order of `keys`; `None` for those that are not there. This is one call so that
    /// a backend that is far away can answer it from a listing.
    ///
    /// # Errors
    /// They could not be looked at.
    fn lengths(&self, keys: &[Key]) -> Result<Vec<Option<u64>>, StoreError>;

    /// All files in a folder, in any order. Files whose names are not keys are left out.
    ///
    /// # Errors
    /// The folder could not be read.
    fn list(&self, folder: Folder) -> Result<Vec<Key>, StoreError>;

    /// Begins a save, and removes what is left of saves whose process died.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn begin(&self) -> Result<Arc<dyn Session>, StoreError>;

    /// What keeps readers, savers and removers apart.
    fn guard(&self) -> &dyn Guard;
}

/// A file of known length, open for reading at any offset by any thread.
pub trait Object: Send + Sync {
    /// How long it should be: what was given to [`Backend::open`].
    fn length(&self) -> u64;

    /// Fills the buffers of all ranges; a backend that is far away reads them at the same time.
    ///
    /// # Errors
    /// A range is not in the file ([`StoreError::Damaged`]), or could not be read.
    fn read(&self, ranges: &mut [ReadRange<'_>]) -> Result<(), StoreError>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// As [`Object::read`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.read(&mut [ReadRange { offset, buffer }])
    }
}

/// A range of a file to be read: as many bytes as `buffer` has.
#[derive(Debug)]
pub struct ReadRange<'a> {
    /// Where it begins.
    pub offset: u64,
    /// Where its bytes go.
    pub buffer: &'a mut [u8],
}

/// A save in progress. Dropping it unpublished removes all that it wrote.
pub trait Session: Send + Sync {
    /// Begins a file.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn create(&self) -> Result<Box<dyn Upload>, StoreError>;

    /// Makes `objects` appear, each of which was sealed in this session or is there already, and after them
    /// the head, with this content.
    ///
    /// # Errors
    /// An object is in neither place ([`StoreError::Missing`]), or the environment does not let us write; the
    /// head is then not there.
    fn publish(&self, objects: &[Key], head: &Key, content: &[u8]) -> Result<(), StoreError>;
}

/// A file that is being written. Dropping it abandons it.
pub trait Upload: Send {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes what was written durable and gives it its key, under which it appears when the session is
    /// published.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn seal(self: Box<Self>, key: &Key) -> Result<(), StoreError>;
}

/// Keeps what is read from being removed, and removers apart from savers and from each other.
pub trait Guard: Send + Sync {
    /// Keeps a file from being removed or replaced until the hold is dropped; `None` if it is not there.
    ///
    /// # Errors
    /// It is there, but cannot be held.
    fn hold(&self, key: &Key) -> Result<Option<Box<dyn Hold>>, StoreError>;

    /// Waits until no save is being published, and keeps others from beginning to.
    ///
    /// # Errors
    /// The environment does not let us write.
    fn exclusive(&self) -> Result<Box<dyn Removal>, StoreError>;
}

/// Keeps a file from being removed or replaced until it is dropped.
pub trait Hold: Send + Sync {}

/// The right to remove things, held by one process at a time.
pub trait Removal: Send {
    /// Removes a file that may be held, durably.
    ///
    /// # Errors
    /// The environment does not let us.
    fn remove(&mut self, key: &Key) -> Result<Outcome, StoreError>;

    /// Replaces a file that may be held by another one of the same key, durably. The next one who removes it
    /// finds the holds of the new file.
    ///
    /// # Errors
    /// The file is not there, or the environment does not let us write; the old file is then still there.
    fn replace(&mut self, key: &Key, content: &[u8]) -> Result<Outcome, StoreError>;

    /// Removes a file that nothing names any more, after all removals so far, by whichever process, are durable.
    /// It is no error if it is not there.
    ///
    /// # Errors
    /// The environment does not let us.
    fn discard(&mut self, key: &Key) -> Result<(), StoreError>;

    /// Removes what is left of saves whose process died, and returns how many there were.
    ///
    /// # Errors
    /// The environment does not let us.
    fn remove_stale_sessions(&mut self) -> Result<usize, StoreError>;
}

/// What became of a file that may have been held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was removed or replaced.
    Done,
    /// Somebody holds it: nothing was done.
    Held,
}

/// The error for a file that is longer than what is read of it.
pub(crate) fn too_long(key: &Key, limit: u64, found: u64) -> StoreError {
    StoreError::damaged(key, "size", format_args!("at most {limit} bytes"), found)
}
