//! A save in a directory: files under temporary names, renamed when all of them are durable.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::layout::{LEASE_EXTENSION, LOCK, TEMPORARY, staged_name};
use super::root::Root;
use crate::backend::files::{Lock, Locked, NewFile, OpenFile};
use crate::backend::{Session, Upload};
use crate::error::StoreError;
use crate::hex::to_hex;
use crate::name::Key;
use crate::random::random_bytes;

/// A save: a directory of its own, marked as alive by a lock on a file next to it.
pub(super) struct DirSession {
    shared: Arc<SessionDir>,
    next: AtomicU32,
}

struct SessionDir {
    root: Arc<Root>,
    directory: PathBuf,
    lease: PathBuf,
    _held: Box<dyn OpenFile>,
}

impl DirSession {
    /// Makes a session; the caller holds the store's lock.
    pub(super) fn begin(root: &Arc<Root>) -> Result<Self, StoreError> {
        let name = to_hex(&random_bytes::<8>()?);
        let lease = format!("{TEMPORARY}/{name}{LEASE_EXTENSION}");
        root.make_file(&lease)?;
        let Locked::Held(held) = root.lock(&lease, Lock::TryExclusive)? else {
            return Err(StoreError::Unreachable(
                "a new lease was locked by somebody else",
            ));
        };
        // From here on dropping it removes what there is of it.
        let shared = Arc::new(SessionDir {
            root: Arc::clone(root),
            directory: root.path.join(TEMPORARY).join(name),
            lease: root.path.join(lease),
            _held: held,
        });
        root.make_dir(&shared.directory)?;
        Ok(Self {
            shared,
            next: AtomicU32::new(0),
        })
    }
}

impl Session for DirSession {
    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.shared.directory.join(format!("{number}.part"));
        let root = &self.shared.root;
        let file = root
            .files
            .create_new(&path)
            .map_err(|error| root.error("create", &path, error))?;
        Ok(Box::new(DirUpload {
            session: Arc::clone(&self.shared),
            path,
            file,
        }))
    }

    fn publish(&self, objects: &[Key], head: &Key, content: &[u8]) -> Result<(), StoreError> {
        let root = &self.shared.root;
        let staged_head = self.shared.staged(head);
        root.write_file(&staged_head, content)?;

        let _lock = root.lock(LOCK, Lock::Shared)?;
        let mut changed = BTreeSet::new();
        for key in objects.iter().collect::<BTreeSet<_>>() {
            let (staged, path) = (self.shared.staged(key), root.path_of(key));
            if root.length(&staged)?.is_some() {
                root.rename(&staged, &path)?;
                changed.extend(path.parent().map(Path::to_path_buf));
            } else if root.length(&path)?.is_none() {
                return Err(StoreError::missing(key, head));
            }
        }
        for directory in changed {
            root.sync_dir(&directory)?;
        }
        root.make_parents(head)?;
        root.rename(&staged_head, &root.path_of(head))?;
        root.sync_parent(head)
    }
}

impl SessionDir {
    /// Where a file is until it is published.
    fn staged(&self, key: &Key) -> PathBuf {
        self.directory.join(staged_name(key))
    }
}

impl Drop for SessionDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later save: its lease is no longer locked.
        let _ = self.root.remove_session(&self.directory);
        let _ = self.root.files.remove_file(&self.lease);
    }
}

struct DirUpload {
    session: Arc<SessionDir>,
    path: PathBuf,
    file: Box<dyn NewFile>,
}

impl Upload for DirUpload {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let root = &self.session.root;
        self.file
            .append(bytes)
            .map_err(|error| root.error("write", &self.path, error))
    }

    fn seal(mut self: Box<Self>, key: &Key) -> Result<(), StoreError> {
        let root = &self.session.root;
        self.file
            .sync()
            .map_err(|error| root.error("sync", &self.path, error))?;
        root.rename(&self.path, &self.session.staged(key))
    }
}

impl fmt::Debug for DirSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirSession")
            .field(&self.shared.directory)
            .finish()
    }
}
