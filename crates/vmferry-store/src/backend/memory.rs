//! A store in memory: for tests, and as the shortest complete backend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Backend, Guard, Hold, Object, Outcome, ReadRange, Removal, Session, Upload, too_long};
use crate::error::StoreError;
use crate::name::{Folder, Key};

/// A store in the memory of this process; clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryBackend(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A removal has ended.
    free: Condvar,
}

#[derive(Default)]
struct State {
    files: BTreeMap<Key, Arc<[u8]>>,
    holds: BTreeMap<Key, usize>,
    removing: bool,
}

impl MemoryBackend {
    /// An empty place.
    pub fn new() -> Self {
        Self::default()
    }

    /// A place with these files.
    pub fn with_files(files: impl IntoIterator<Item = (Key, Arc<[u8]>)>) -> Self {
        let backend = Self::new();
        backend.0.lock().files.extend(files);
        backend
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is being removed.
    fn wait(&self) -> MutexGuard<'_, State> {
        self.free
            .wait_while(self.lock(), |state| state.removing)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBackend {
    fn location(&self) -> String {
        "memory".into()
    }

    fn create(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        let mut state = self.0.lock();
        if !state.files.is_empty() {
            return Err(StoreError::CannotCreate {
                path: self.location(),
                reason: "there is a store already".into(),
            });
        }
        state.files.insert(key.clone(), content.into());
        Ok(())
    }

    fn read(&self, key: &Key, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.lock().files.get(key) {
            Some(content) if content.len() as u64 > limit => {
                Err(too_long(key, limit, content.len() as u64))
            }
            content => Ok(content.map(|content| content.to_vec())),
        }
    }

    fn open(&self, key: &Key, length: u64) -> Result<Option<Box<dyn Object>>, StoreError> {
        let content = self.0.lock().files.get(key).cloned();
        Ok(content.map(|content| {
            Box::new(MemoryObject {
                key: key.clone(),
                content,
                length,
            }) as Box<dyn Object>
        }))
    }

    fn lengths(&self, keys: &[Key]) -> Result<Vec<Option<u64>>, StoreError> {
        let state = self.0.lock();
        let length = |key| state.files.get(key).map(|content| content.len() as u64);
        Ok(keys.iter().map(length).collect())
    }

    fn list(&self, folder: Folder) -> Result<Vec<Key>, StoreError> {
        let state = self.0.lock();
        let is_inside = |key: &&Key| key.components().next() == Some(folder.as_str());
        Ok(state.files.keys().filter(is_inside).cloned().collect())
    }

    fn begin(&self) -> Result<Arc<dyn Session>, StoreError> {
        Ok(Arc::new(MemorySession {
            shared: Arc::clone(&self.0),
            staged: Arc::default(),
        }))
    }

    fn guard(&self) -> &dyn Guard {
        self
    }
}

impl Guard for MemoryBackend {
    fn hold(&self, key: &Key) -> Result<Option<Box<dyn Hold>>, StoreError> {
        let mut state = self.0.lock();
        if !state.files.contains_key(key) {
            return Ok(None);
        }
        *state.holds.entry(key.clone()).or_default() += 1;
        Ok(Some(Box::new(MemoryHold {
            shared: Arc::clone(&self.0),
            key: key.clone(),
        })))
    }

    fn exclusive(&self) -> Result<Box<dyn Removal>, StoreError> {
        self.0.wait().removing = true;
        Ok(Box::new(MemoryRemoval(Arc::clone(&self.0))))
    }
}

struct MemoryObject {
    key: Key,
    content: Arc<[u8]>,
    length: u64,
}

impl Object for MemoryObject {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, ranges: &mut [ReadRange<'_>]) -> Result<(), StoreError> {
        for range in ranges {
            let start = usize::try_from(range.offset).ok();
            let end = start.and_then(|start| start.checked_add(range.buffer.len()));
            let bytes = start
                .zip(end)
                .and_then(|(start, end)| self.content.get(start..end));
            let Some(bytes) = bytes else {
                let wanted = format!("{} bytes", range.buffer.len());
                let error = StoreError::damaged(&self.key, "length", wanted, "the end of the file");
                return Err(error.at(range.offset));
            };
            range.buffer.copy_from_slice(bytes);
        }
        Ok(())
    }
}

struct MemorySession {
    shared: Arc<Shared>,
    staged: Staged,
}

type Staged = Arc<Mutex<BTreeMap<Key, Arc<[u8]>>>>;

impl Session for MemorySession {
    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(MemoryUpload {
            content: Vec::new(),
            staged: Arc::clone(&self.staged),
        }))
    }

    fn publish(&self, objects: &[Key], head: &Key, content: &[u8]) -> Result<(), StoreError> {
        let staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.wait();
        for key in objects.iter().collect::<BTreeSet<_>>() {
            match staged.get(key) {
                Some(content) => {
                    state.files.insert(key.clone(), Arc::clone(content));
                }
                None if state.files.contains_key(key) => {}
                None => return Err(StoreError::missing(key, head)),
            }
        }
        state.files.insert(head.clone(), content.into());
        Ok(())
    }
}

struct MemoryUpload {
    content: Vec<u8>,
    staged: Staged,
}

impl Upload for MemoryUpload {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    fn seal(self: Box<Self>, key: &Key) -> Result<(), StoreError> {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        staged.insert(key.clone(), self.content.into());
        Ok(())
    }
}

struct MemoryHold {
    shared: Arc<Shared>,
    key: Key,
}

impl Hold for MemoryHold {}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(count) = state.holds.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                state.holds.remove(&self.key);
            }
        }
    }
}

struct MemoryRemoval(Arc<Shared>);

impl Removal for MemoryRemoval {
    fn remove(&mut self, key: &Key) -> Result<Outcome, StoreError> {
        let mut state = self.0.lock();
        if state.holds.contains_key(key) {
            return Ok(Outcome::Held);
        }
        state.files.remove(key);
        Ok(Outcome::Done)
    }

    fn replace(&mut self, key: &Key, content: &[u8]) -> Result<Outcome, StoreError> {
        let mut state = self.0.lock();
        if state.holds.contains_key(key) {
            return Ok(Outcome::Held);
        }
        let Some(file) = state.files.get_mut(key) else {
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(StoreError::io("replace", key, error));
        };
        *file = content.into();
        Ok(Outcome::Done)
    }

    fn discard(&mut self, key: &Key) -> Result<(), StoreError> {
        self.0.lock().files.remove(key);
        Ok(())
    }

    fn remove_stale_sessions(&mut self) -> Result<usize, StoreError> {
        // A session is in the memory of the process whose death would leave it.
        Ok(0)
    }
}

impl Drop for MemoryRemoval {
    fn drop(&mut self) {
        self.0.lock().removing = false;
        self.0.free.notify_all();
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("MemoryBackend")
            .field("files", &state.files.len())
            .field("holds", &state.holds.len())
            .finish()
    }
}
