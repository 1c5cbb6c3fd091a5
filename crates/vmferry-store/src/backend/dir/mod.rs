//! A store in a directory.
//!
//! The invariant is the order of system calls: content is synced before a name is given, names are
//! synced before a manifest that relies on them is, and a manifest is gone before what it names is
//! removed. Section 10 of `docs/format.md` is this file in prose.

mod removal;
mod root;
mod session;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Files, Lock, Locked, RealFiles};
use super::{Backend, Object, Removal, Session, read_all};
use crate::config::CONFIG_FILE;
use crate::error::StoreError;
use crate::limits::MAX_CONFIG_BYTES;
use crate::name::{CheckpointId, CheckpointName, ObjectKind, ObjectName, VmName};
use removal::DirRemoval;
use root::{CHECKPOINTS, LOCK, MANIFEST_EXTENSION, Root, TEMPORARY};
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

    /// Lays out a store in the directory, with `config` as its store file.
    ///
    /// # Errors
    /// There is one already, or other files; or the environment does not let us write.
    pub fn create(&self, config: &[u8]) -> Result<(), StoreError> {
        let root = &self.root;
        let top = [LOCK, CHECKPOINTS, TEMPORARY, CONFIG_FILE];
        let ours = |name: &String| {
            top.contains(&name.as_str())
                || ObjectKind::ALL.iter().any(|kind| kind.directory() == name)
        };
        root.make_dir(&root.path)?;
        let present = root.read_dir(&root.path)?;
        if let Some(alien) = present.iter().find(|name| !ours(name)) {
            return Err(self.cannot_create(format!("it is not empty: '{alien}' is in it")));
        }
        root.make_file(LOCK)?;
        let _lock = root.lock(LOCK, Lock::Exclusive)?;
        if root.exists(CONFIG_FILE)? {
            return Err(self.cannot_create("there is a store already".into()));
        }
        root.make_dirs()?;
        let temporary = root.path.join(TEMPORARY).join(CONFIG_FILE);
        root.remove_if_there(&temporary)?;
        root.write_file(&temporary, config)?;
        root.rename(&temporary, &root.path.join(CONFIG_FILE))?;
        root.sync_dir(&root.path)?;
        // The directory itself is a name in another one.
        match root.path.parent() {
            Some(parent) if parent != Path::new("") => root.sync_dir(parent),
            _ => Ok(()),
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

    fn config(&self) -> Result<Vec<u8>, StoreError> {
        match self.root.open(&self.root.path.join(CONFIG_FILE))? {
            Some(file) => read_all(&*file, CONFIG_FILE, MAX_CONFIG_BYTES),
            None => Err(StoreError::NotAStore {
                path: self.location(),
            }),
        }
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

    fn open(&self, name: ObjectName) -> Result<Option<Box<dyn Object>>, StoreError> {
        self.root.open(&self.root.object(name))
    }

    fn objects(&self) -> Result<Vec<ObjectName>, StoreError> {
        let mut objects = Vec::new();
        for kind in ObjectKind::ALL {
            let names = self.root.read_dir(&self.root.path.join(kind.directory()))?;
            objects.extend(
                names
                    .iter()
                    .filter_map(|name| ObjectName::from_file_name(kind, name)),
            );
        }
        Ok(objects)
    }

    fn checkpoints(&self) -> Result<Vec<CheckpointName>, StoreError> {
        let directory = self.root.path.join(CHECKPOINTS);
        let mut checkpoints = Vec::new();
        for vm in self.root.read_dir(&directory)? {
            let Ok(name) = vm.parse::<VmName>() else {
                continue;
            };
            for file in self.root.read_dir(&directory.join(&vm))? {
                let id = file.strip_suffix(MANIFEST_EXTENSION);
                if let Some(Ok(id)) = id.map(str::parse::<CheckpointId>) {
                    let vm = name.clone();
                    checkpoints.push(CheckpointName { vm, id });
                }
            }
        }
        Ok(checkpoints)
    }

    fn manifest(&self, name: &CheckpointName) -> Result<Option<Box<dyn Object>>, StoreError> {
        self.root.open(&self.root.manifest(name))
    }

    fn hold(&self, name: &CheckpointName) -> Result<Option<Box<dyn Object>>, StoreError> {
        let path = self.root.manifest(name);
        match self.root.files.lock(&path, Lock::Shared) {
            Ok(Locked::Held(file)) => Ok(Some(Box::new(self.root.object_file(file, &path)?))),
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
