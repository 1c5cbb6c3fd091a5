//! A store: create and open it, save, list and read checkpoints.

mod remove;
mod replace;
mod resolve;

pub use remove::{Deleted, Swept};

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::backend::{Backend, DirBackend};
use crate::config::{Defaults, StoreConfig};
use crate::digest::Keys;
use crate::error::StoreError;
use crate::limits::{MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
use crate::manifest::Manifest;
use crate::name::{CheckpointName, CheckpointRef, Folder, Key, VmName};
use crate::reader::{Checkpoint, ReadOptions};
use crate::writer::{KnownPages, NothingKnown, SaveOptions, Writer};
use resolve::resolve;

/// A store of checkpoints. Any number of processes may use one at the same time.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    config: StoreConfig,
    keys: Arc<Keys>,
}

/// A checkpoint in a listing.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: CheckpointName,
    /// What it is, or why that is not known.
    pub manifest: Result<Manifest, StoreError>,
}

impl Store {
    /// Creates a store in a directory that is empty or does not exist.
    ///
    /// # Errors
    /// There is a store already, or other files; or the environment does not let us write.
    pub fn create(path: impl AsRef<Path>, defaults: Defaults) -> Result<Self, StoreError> {
        let config = StoreConfig::generate(defaults)?;
        Self::create_with(Arc::new(DirBackend::new(path.as_ref())), &config)
    }

    /// Creates a store in any kind of place, with a given configuration.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create_with(
        backend: Arc<dyn Backend>,
        config: &StoreConfig,
    ) -> Result<Self, StoreError> {
        backend.create(&Key::store_file(), &config.to_json()?)?;
        Self::with_backend(backend)
    }

    /// Opens the store in a directory.
    ///
    /// # Errors
    /// There is none, or one that this version cannot use, or its store file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::with_backend(Arc::new(DirBackend::new(path.as_ref())))
    }

    /// Opens the store in a directory, which is created if there is nothing yet.
    ///
    /// # Errors
    /// As [`Store::open`] and [`Store::create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        match Self::open(&path) {
            Err(StoreError::NotAStore { .. }) => {}
            result => return result,
        }
        match Self::create(&path, Defaults::default()) {
            // Another process was faster.
            Err(StoreError::CannotCreate { .. }) => Self::open(&path),
            result => result,
        }
    }

    /// Opens the store in another kind of place.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn with_backend(backend: Arc<dyn Backend>) -> Result<Self, StoreError> {
        let Some(config) = backend.read(&Key::store_file(), MAX_CONFIG_BYTES)? else {
            return Err(StoreError::NotAStore {
                path: backend.location(),
            });
        };
        let config = StoreConfig::parse(&config)?;
        let keys = Arc::new(config.keys());
        Ok(Self {
            backend,
            config,
            keys,
        })
    }

    /// What the store file says.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Where the store is, for messages.
    pub fn location(&self) -> String {
        self.backend.location()
    }

    /// Begins a save of `vm`.
    ///
    /// # Errors
    /// The environment does not let us write.
    pub fn save(&self, vm: VmName, options: &SaveOptions) -> Result<Writer, StoreError> {
        self.save_with(vm, options, Arc::new(NothingKnown))
    }

    /// Begins a save that refers to pages that are known instead of storing them again.
    pub(crate) fn save_with(
        &self,
        vm: VmName,
        options: &SaveOptions,
        known: Arc<dyn KnownPages>,
    ) -> Result<Writer, StoreError> {
        let session = self.backend.begin()?;
        let keys = Arc::clone(&self.keys);
        Writer::begin(session, vm, options, self.config.defaults, keys, known)
    }

    /// The names of all checkpoints, by VM and time.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn names(&self) -> Result<Vec<CheckpointName>, StoreError> {
        let keys = self.backend.list(Folder::Checkpoints)?;
        let mut names: Vec<_> = keys.iter().filter_map(Key::checkpoint).collect();
        names.sort();
        Ok(names)
    }

    /// All checkpoints, by VM and time; those whose manifest cannot be read with the reason.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        for name in self.names()? {
            // One that was deleted meanwhile is not there, and that is no error.
            if let Some(manifest) = self.manifest(&name).transpose() {
                listed.push(Listed { name, manifest });
            }
        }
        Ok(listed)
    }

    /// Which checkpoint is meant by `reference`.
    ///
    /// # Errors
    /// None or several; the error names the candidates.
    pub fn resolve(&self, reference: &CheckpointRef) -> Result<CheckpointName, StoreError> {
        resolve(reference, &self.names()?)
    }

    /// Reads a checkpoint's manifest.
    ///
    /// # Errors
    /// It is not there, is damaged, or needs a newer vmferry.
    pub fn inspect(&self, name: &CheckpointName) -> Result<Manifest, StoreError> {
        match self.manifest(name)? {
            Some(manifest) => Ok(manifest),
            None => Err(self.no_such(name)?),
        }
    }

    /// Opens a checkpoint for reading; it cannot be deleted until it is dropped.
    ///
    /// # Errors
    /// It is not there, is damaged, or needs a newer vmferry.
    pub fn checkpoint(
        &self,
        name: &CheckpointName,
        options: ReadOptions,
    ) -> Result<Checkpoint, StoreError> {
        let (backend, keys) = (Arc::clone(&self.backend), Arc::clone(&self.keys));
        match Checkpoint::open(backend, keys, name, options) {
            Err(StoreError::NoSuchCheckpoint { .. }) => Err(self.no_such(name)?),
            result => result,
        }
    }

    /// A checkpoint's manifest; `None` if there is no such checkpoint.
    fn manifest(&self, name: &CheckpointName) -> Result<Option<Manifest>, StoreError> {
        match self.backend.read(&name.manifest(), MAX_MANIFEST_BYTES)? {
            Some(json) => Manifest::parse(name, &json, &self.keys).map(Some),
            None => Ok(None),
        }
    }

    /// The error that says what there is in place of `name`.
    fn no_such(&self, name: &CheckpointName) -> Result<StoreError, StoreError> {
        let reference = CheckpointRef::from(name.clone());
        match resolve(&reference, &self.names()?) {
            Err(error) => Ok(error),
            // The reference is the beginning of another id, or the checkpoint has just appeared.
            Ok(other) => Ok(StoreError::NoSuchCheckpoint {
                vm: name.vm.clone(),
                id: name.id.to_string(),
                candidates: vec![other.id.to_string()],
            }),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("backend", &self.backend)
            .field("store_id", &self.config.store_id)
            .finish_non_exhaustive()
    }
}
