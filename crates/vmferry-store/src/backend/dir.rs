//! A store in a directory.
//!
//! The invariant is the order of system calls: content is synced before a name is given, names are
//! synced before a manifest that relies on them is, and a manifest is gone before what it names is
//! removed. Section 9 of `docs/format.md` is this file in prose.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::files::{Files, Lock, Locked, NewFile, OpenFile, RealFiles};
use super::{Backend, Object, ObjectKind, ObjectName, Removal, Session, Upload, read_all};
use crate::config::CONFIG_FILE;
use crate::digest::{random_bytes, to_hex};
use crate::error::StoreError;
use crate::limits::MAX_CONFIG_BYTES;
use crate::manifest;
use crate::name::{CheckpointId, CheckpointName, VmName};

const LOCK: &str = "lock";
const CHECKPOINTS: &str = "checkpoints";
const TEMPORARY: &str = "tmp";
const LEASE_EXTENSION: &str = ".lease";
const MANIFEST_EXTENSION: &str = ".json";

/// A directory on a local file system.
///
/// It must be one whose `flock` reaches every process that uses the store.
#[derive(Debug, Clone)]
pub struct DirBackend {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    files: Box<dyn Files>,
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
        let top = [LOCK, CHECKPOINTS, TEMPORARY, "hints", CONFIG_FILE];
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
        Ok(Arc::new(DirSession {
            shared,
            next: AtomicU32::new(0),
        }))
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
        Ok(Box::new(DirRemoval {
            root: Arc::clone(&self.root),
            removals: Removals::Unsure,
            _lock: lock,
        }))
    }
}

/// A save: a directory of its own, marked as alive by a lock on a file beside it.
struct DirSession {
    shared: Arc<SessionDir>,
    next: AtomicU32,
}

struct SessionDir {
    root: Arc<Root>,
    directory: PathBuf,
    lease: PathBuf,
    _held: Box<dyn OpenFile>,
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

    fn commit(
        &self,
        objects: &[ObjectName],
        name: &CheckpointName,
        manifest: &[u8],
    ) -> Result<(), StoreError> {
        let root = &self.shared.root;
        let staged = self.shared.directory.join("manifest.json");
        root.write_file(&staged, manifest)?;
        let mut objects = objects.to_vec();
        objects.sort();
        objects.dedup();

        let _lock = root.lock(LOCK, Lock::Shared)?;
        for kind in ObjectKind::ALL {
            let mut renamed = false;
            for object in objects.iter().filter(|object| object.kind == kind) {
                let staged = self.shared.directory.join(object.file_name());
                if root.files.open(&staged).is_ok() {
                    root.rename(&staged, &root.object(*object))?;
                    renamed = true;
                } else if self.shared.root.open(&root.object(*object))?.is_none() {
                    return Err(StoreError::Missing {
                        object: *object,
                        named_by: format!("the save of {}", name.vm),
                    });
                }
            }
            if renamed {
                root.sync_dir(&root.path.join(kind.directory()))?;
            }
        }
        let checkpoints = root.path.join(CHECKPOINTS);
        let directory = checkpoints.join(name.vm.as_str());
        root.make_dir(&directory)?;
        root.sync_dir(&checkpoints)?;
        root.sync_dir(&root.path)?;
        root.rename(&staged, &root.manifest(name))?;
        root.sync_dir(&directory)
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

    fn seal(mut self: Box<Self>, name: ObjectName) -> Result<(), StoreError> {
        let root = &self.session.root;
        self.file
            .sync()
            .map_err(|error| root.error("sync", &self.path, error))?;
        root.rename(&self.path, &self.session.directory.join(name.file_name()))
    }
}

struct DirRemoval {
    root: Arc<Root>,
    removals: Removals,
    _lock: Box<dyn OpenFile>,
}

/// Whether the manifests that are gone will still be gone after a power failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removals {
    /// Somebody may have died between removing a manifest and syncing its directory.
    Unsure,
    Durable,
}

impl Removal for DirRemoval {
    fn remove_checkpoint(&mut self, name: &CheckpointName) -> Result<(), StoreError> {
        let path = self.root.manifest(name);
        let locked = self.root.files.lock(&path, Lock::TryExclusive);
        let locked = locked.map_err(|error| self.root.error("lock", &path, error))?;
        let Locked::Held(_lock) = locked else {
            return Err(StoreError::InUse {
                checkpoint: name.clone(),
            });
        };
        self.root.remove_if_there(&path)?;
        let directory = self.root.path.join(CHECKPOINTS).join(name.vm.as_str());
        self.root.sync_dir(&directory)?;
        // Not empty: there are other checkpoints of this VM.
        let _ = self.root.files.remove_dir(&directory);
        Ok(())
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
}

impl Root {
    fn object(&self, name: ObjectName) -> PathBuf {
        self.path.join(name.kind.directory()).join(name.file_name())
    }

    fn manifest(&self, name: &CheckpointName) -> PathBuf {
        self.path.join(manifest::file_name(name))
    }

    fn error(&self, action: &'static str, path: &Path, error: io::Error) -> StoreError {
        StoreError::io(action, path.display(), error)
    }

    /// Locks a file of the store; a store without its lock file is a store whose lock got lost.
    fn lock(&self, name: &str, lock: Lock) -> Result<Locked, StoreError> {
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

    fn open(&self, path: &Path) -> Result<Option<Box<dyn Object>>, StoreError> {
        match self.files.open(path) {
            Ok(file) => Ok(Some(Box::new(self.object_file(file, path)?))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error("open", path, error)),
        }
    }

    fn object_file(&self, file: Box<dyn OpenFile>, path: &Path) -> Result<DirObject, StoreError> {
        let length = file
            .length()
            .map_err(|error| self.error("look at", path, error))?;
        Ok(DirObject {
            file,
            path: path.into(),
            length,
        })
    }

    fn exists(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.open(&self.path.join(name))?.is_some())
    }

    /// Makes an empty file unless it is there.
    fn make_file(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        match self.files.create_new(&path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.error("create", &path, error)),
        }
    }

    fn make_dir(&self, path: &Path) -> Result<(), StoreError> {
        match self.files.create_dir(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.error("make the directory", path, error)),
        }
    }

    /// Makes the directories of a store that are not there; syncing is left to who puts something
    /// durable into them.
    fn make_dirs(&self) -> Result<(), StoreError> {
        let kinds = ObjectKind::ALL.map(ObjectKind::directory);
        for directory in kinds.into_iter().chain([CHECKPOINTS, TEMPORARY]) {
            self.make_dir(&self.path.join(directory))?;
        }
        Ok(())
    }

    /// Writes and syncs a new file.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let write = || {
            let mut file = self.files.create_new(path)?;
            file.append(bytes)?;
            file.sync()
        };
        write().map_err(|error| self.error("write", path, error))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.files
            .rename(from, to)
            .map_err(|error| self.error("rename a file to", to, error))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.files
            .sync_dir(path)
            .map_err(|error| self.error("sync", path, error))
    }

    /// The names in a directory; none if it is not there.
    fn read_dir(&self, path: &Path) -> Result<Vec<String>, StoreError> {
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

    fn remove_if_there(&self, path: &Path) -> Result<(), StoreError> {
        match self.files.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.error("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a session's directory and all files in it.
    fn remove_session(&self, directory: &Path) -> Result<(), StoreError> {
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
    /// so no session is just being made.
    fn remove_stale_sessions(&self) -> Result<usize, StoreError> {
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

struct DirObject {
    file: Box<dyn OpenFile>,
    path: PathBuf,
    length: u64,
}

impl Object for DirObject {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        match self.file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let wanted = format!("{} bytes", buffer.len());
                let path = self.path.display();
                Err(StoreError::damaged(path, "length", wanted, "the end of the file").at(offset))
            }
            Err(error) => Err(StoreError::io("read", self.path.display(), error)),
        }
    }
}

impl fmt::Debug for DirSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirSession")
            .field(&self.shared.directory)
            .finish()
    }
}
