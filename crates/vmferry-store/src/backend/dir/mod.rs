//! A store in a directory.
//!
//! The invariant is the order of system calls: content is synced before a name is given, names are
//! synced before a manifest that relies on them is, and a manifest is gone before what it names is
//! removed. Section 10 of `docs/format.md` is this file in prose.

mod layout;
mod object;
mod removal;
mod root;
mod session;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Files, Lock, Locked, OpenFile, RealFiles};
use super::{Backend, Guard, Hold, Object, Removal, Session, too_long};
use crate::error::StoreError;
use crate::name::{Folder, Key};
use layout::{LOCK, TEMPORARY, staged_name};
use object::DirObject;
use removal::DirRemoval;
use root::Root;
use session::DirSession;

/// A directory on a local file system.
///
/// It must be one whose `flock` reaches every process that uses the store.
#[derive(Debug, Clone)]
pub struct DirBackend {
    root: Arc<Root>,
}

impl DirBackend {
    /// The store in this directory, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_files(path.into(), Box::new(RealFiles))
    }

    pub(crate) fn with_files(path: PathBuf, files: Box<dyn Files>) -> Self {
        Self {
            root: Arc::new(Root { path, files }),
        }
    }

    fn cannot_create(&self, reason: String) -> StoreError {
        StoreError::CannotCreate {
            path: self.location(),
            reason,
        }
    }
}

impl Backend for DirBackend {
    fn location(&self) -> String {
        self.root.path.display().to_string()
    }

    fn create(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        let root = &self.root;
        let ours = |name: &str| {
            [LOCK, TEMPORARY, key.as_str()].contains(&name)
                || Folder::ALL.iter().any(|folder| folder.as_str() == name)
        };
        root.make_dir(&root.path)?;
        let present = root.read_dir(&root.path)?;
        if let Some(alien) = present.iter().find(|name| !ours(name)) {
            return Err(self.cannot_create(format!("it is not empty: '{alien}' is in it")));
        }
        root.make_file(LOCK)?;
        let _lock = root.lock(LOCK, Lock::Exclusive)?;
        if root.length(&root.path_of(key))?.is_some() {
            return Err(self.cannot_create("there is a store already".into()));
        }
        root.make_dirs()?;
        let temporary = root.path.join(TEMPORARY).join(staged_name(key));
        root.remove_if_there(&temporary)?;
        root.write_file(&temporary, content)?;
        root.rename(&temporary, &root.path_of(key))?;
        root.sync_dir(&root.path)?;
        // The directory itself is a name in another one.
        match root.path.parent() {
            Some(parent) if parent != Path::new("") => root.sync_dir(parent),
            _ => Ok(()),
        }
    }

    fn read(&self, key: &Key, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.root.path_of(key);
        let Some(file) = self.root.open(&path)? else {
            return Ok(None);
        };
        let length = file
            .length()
            .map_err(|error| self.root.error("look at", &path, error))?;
        let Some(in_memory) = usize::try_from(length).ok().filter(|_| length <= limit) else {
            return Err(too_long(key, limit, length));
        };
        let mut content = vec![0; in_memory];
        DirObject { file, path, length }.read_exact_at(&mut content, 0)?;
        Ok(Some(content))
    }

    fn open(&self, key: &Key, length: u64) -> Result<Option<Box<dyn Object>>, StoreError> {
        let path = self.root.path_of(key);
        let file = self.root.open(&path)?;
        Ok(file.map(|file| Box::new(DirObject { file, path, length }) as Box<dyn Object>))
    }

    fn lengths(&self, keys: &[Key]) -> Result<Vec<Option<u64>>, StoreError> {
        let length = |key| self.root.length(&self.root.path_of(key));
        keys.iter().map(length).collect()
    }

    fn list(&self, folder: Folder) -> Result<Vec<Key>, StoreError> {
        let name = folder.as_str();
        let top = self.root.path.join(name);
        let mut keys = Vec::new();
        for file in self.root.read_dir(&top)? {
            match folder {
                Folder::Objects(_) => keys.extend(format!("{name}/{file}").parse()),
                Folder::Checkpoints => {
                    for inner in self.root.read_dir(&top.join(&file))? {
                        keys.extend(format!("{name}/{file}/{inner}").parse());
                    }
                }
            }
        }
        Ok(keys)
    }

    fn begin(&self) -> Result<Arc<dyn Session>, StoreError> {
        let root = &self.root;
        if let Locked::Held(_lock) = root.lock(LOCK, Lock::TryExclusive)? {
            root.remove_stale_sessions()?;
        }
        let _lock = root.lock(LOCK, Lock::Shared)?;
        // A copy of a store may have lost the directories in which there was nothing.
        root.make_dirs()?;
        Ok(Arc::new(DirSession::begin(root)?))
    }

    fn guard(&self) -> &dyn Guard {
        self
    }
}

impl Guard for DirBackend {
    fn hold(&self, key: &Key) -> Result<Option<Box<dyn Hold>>, StoreError> {
        let path = self.root.path_of(key);
        match self.root.files.lock(&path, Lock::Shared) {
            Ok(Locked::Held(file)) => Ok(Some(Box::new(DirHold { _locked: file }))),
            Ok(Locked::Busy) => Err(StoreError::Unreachable("a shared lock that waits was busy")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.root.error("open", &path, error)),
        }
    }

    fn exclusive(&self) -> Result<Box<dyn Removal>, StoreError> {
        let Locked::Held(lock) = self.root.lock(LOCK, Lock::Exclusive)? else {
            return Err(StoreError::Unreachable("a lock that waits was busy"));
        };
        Ok(Box::new(DirRemoval::new(Arc::clone(&self.root), lock)))
    }
}

/// A file that is locked together with other readers.
struct DirHold {
    _locked: Box<dyn OpenFile>,
}

impl Hold for DirHold {}
