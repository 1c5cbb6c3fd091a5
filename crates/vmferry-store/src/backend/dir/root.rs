//! The files of a store: where they are, and the operations on them with errors that name them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::layout::{LEASE_EXTENSION, TEMPORARY, path_of};
use crate::backend::files::{Files, Lock, Locked, OpenFile};
use crate::error::StoreError;
use crate::name::{Folder, Key};

/// A store's directory.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) files: Box<dyn Files>,
}

impl Root {
    /// The file of a key.
    pub(super) fn path_of(&self, key: &Key) -> PathBuf {
        path_of(&self.path, key)
    }

    pub(super) fn error(&self, action: &'static str, path: &Path, error: io::Error) -> StoreError {
        StoreError::io(action, path.display(), error)
    }

    /// Locks a file of the store; a store without its lock file is a store whose lock got lost.
    pub(super) fn lock(&self, name: &str, lock: Lock) -> Result<Locked, StoreError> {
        let path = self.path.join(name);
        match self.files.lock(&path, lock) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_file(name)?;
                self.files.lock(&path, lock)
            }
            result => result,
        }
        .map_err(|error| self.error("lock", &path, error))
    }

    /// Opens a file for reading; `None` if it is not there.
    pub(super) fn open(&self, path: &Path) -> Result<Option<Box<dyn OpenFile>>, StoreError> {
        match self.files.open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error("open", path, error)),
        }
    }

    /// The length of a file; `None` if it is not there.
    pub(super) fn length(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        match self.files.length(path) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error("look at", path, error)),
        }
    }

    /// Makes an empty file unless it is there.
    pub(super) fn make_file(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        match self.files.create_new(&path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.error("create", &path, error)),
        }
    }

    pub(super) fn make_dir(&self, path: &Path) -> Result<(), StoreError> {
        match self.files.create_dir(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.error("make the directory", path, error)),
        }
    }

    /// Makes the directories of a store that are not there; they are synced when something durable is put
    /// into them.
    pub(super) fn make_dirs(&self) -> Result<(), StoreError> {
        for directory in Folder::ALL.map(Folder::as_str) {
            self.make_dir(&self.path.join(directory))?;
        }
        self.make_dir(&self.path.join(TEMPORARY))
    }

    /// Makes the directories above a file that are not there, and syncs them.
    pub(super) fn make_parents(&self, key: &Key) -> Result<(), StoreError> {
        let mut above = self.path.clone();
        for directory in parents(key) {
            let made = above.join(directory);
            self.make_dir(&made)?;
            self.sync_dir(&above)?;
            above = made;
        }
        Ok(())
    }

    /// Syncs the directory that a file is in.
    pub(super) fn sync_parent(&self, key: &Key) -> Result<(), StoreError> {
        match self.path_of(key).parent() {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    /// Writes and syncs a new file.
    pub(super) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let write = || {
            let mut file = self.files.create_new(path)?;
            file.append(bytes)?;
            file.sync()
        };
        write().map_err(|error| self.error("write", path, error))
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.files
            .rename(from, to)
            .map_err(|error| self.error("rename a file to", to, error))
    }

    pub(super) fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.files
            .sync_dir(path)
            .map_err(|error| self.error("sync", path, error))
    }

    /// The names in a directory; none if it is not there.
    pub(super) fn read_dir(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        match self.files.read_dir(path) {
            Ok(names) => Ok(names),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(self.error("list", path, error)),
        }
    }

    pub(super) fn remove_if_there(&self, path: &Path) -> Result<(), StoreError> {
        match self.files.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.error("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a session's directory and all files in it.
    pub(super) fn remove_session(&self, directory: &Path) -> Result<(), StoreError> {
        for name in self.read_dir(directory)? {
            self.remove_if_there(&directory.join(name))?;
        }
        match self.files.remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.error("remove", directory, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the sessions whose lease nobody holds. The caller holds the store's lock exclusively:
    /// so no session is being made.
    pub(super) fn remove_stale_sessions(&self) -> Result<usize, StoreError> {
        let temporary = self.path.join(TEMPORARY);
        let names = self.read_dir(&temporary)?;
        let sessions: BTreeSet<&str> = names
            .iter()
            .map(|name| name.strip_suffix(LEASE_EXTENSION).unwrap_or(name))
            .collect();
        let mut removed = 0;
        for session in sessions {
            let lease = temporary.join(format!("{session}{LEASE_EXTENSION}"));
            let _held = match self.files.lock(&lease, Lock::TryExclusive) {
                Ok(Locked::Held(held)) => Some(held),
                Ok(Locked::Busy) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(self.error("lock", &lease, error)),
            };
            let directory = temporary.join(session);
            if self.files.remove_file(&directory).is_err() {
                self.remove_session(&directory)?;
            }
            self.remove_if_there(&lease)?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// The directories above a file, from the top on.
fn parents(key: &Key) -> impl Iterator<Item = &str> {
    let count = key.components().count();
    key.components().take(count - 1)
}
