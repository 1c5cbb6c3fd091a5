//! A backend around another one that does something before every call: waits, counts, or fails.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::backend::{Backend, Guard, Hold, Object, Outcome, ReadRange, Removal, Session, Upload};
use crate::error::StoreError;
use crate::name::{Folder, Key};

/// A backend around another one whose `tap` runs before every call, with the call's name, and may fail it.
pub struct Tapped {
    inner: Arc<dyn Backend>,
    tap: Tap,
}

type Tap = Arc<dyn Fn(&'static str) -> Result<(), StoreError> + Send + Sync>;

impl Tapped {
    /// Runs `tap` before every call of `inner` and of everything that it opens.
    pub fn new(
        inner: Arc<dyn Backend>,
        tap: impl Fn(&'static str) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        let tap = Arc::new(tap);
        Self { inner, tap }
    }

    /// Adds `delay` to every call.
    pub fn slow(inner: Arc<dyn Backend>, delay: Duration) -> Self {
        Self::new(inner, move |_| {
            thread::sleep(delay);
            Ok(())
        })
    }

    /// Counts the calls in `calls`.
    pub fn counting(inner: Arc<dyn Backend>, calls: Arc<AtomicUsize>) -> Self {
        Self::new(inner, move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Counts the calls in `calls`, and fails the one before which it has counted `at`.
    pub fn failing(inner: Arc<dyn Backend>, calls: Arc<AtomicUsize>, at: usize) -> Self {
        Self::new(inner, move |call| {
            if calls.fetch_add(1, Ordering::Relaxed) == at {
                return Err(StoreError::io(
                    call,
                    "the store",
                    io::Error::other("it fails"),
                ));
            }
            Ok(())
        })
    }
}

impl Backend for Tapped {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        (self.tap)("create")?;
        self.inner.create(key, content)
    }

    fn read(&self, key: &Key, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        (self.tap)("read")?;
        self.inner.read(key, limit)
    }

    fn open(&self, key: &Key, length: u64) -> Result<Option<Box<dyn Object>>, StoreError> {
        (self.tap)("open")?;
        let inner = self.inner.open(key, length)?;
        let tap = Arc::clone(&self.tap);
        Ok(inner.map(|inner| Box::new(TappedObject { inner, tap }) as Box<dyn Object>))
    }

    fn lengths(&self, keys: &[Key]) -> Result<Vec<Option<u64>>, StoreError> {
        (self.tap)("look at")?;
        self.inner.lengths(keys)
    }

    fn list(&self, folder: Folder) -> Result<Vec<Key>, StoreError> {
        (self.tap)("list")?;
        self.inner.list(folder)
    }

    fn begin(&self) -> Result<Arc<dyn Session>, StoreError> {
        (self.tap)("begin a save in")?;
        let inner = self.inner.begin()?;
        let tap = Arc::clone(&self.tap);
        Ok(Arc::new(TappedSession { inner, tap }))
    }

    fn guard(&self) -> &dyn Guard {
        self
    }
}

impl Guard for Tapped {
    fn hold(&self, key: &Key) -> Result<Option<Box<dyn Hold>>, StoreError> {
        (self.tap)("hold")?;
        self.inner.guard().hold(key)
    }

    fn exclusive(&self) -> Result<Box<dyn Removal>, StoreError> {
        (self.tap)("lock")?;
        let inner = self.inner.guard().exclusive()?;
        let tap = Arc::clone(&self.tap);
        Ok(Box::new(TappedRemoval { inner, tap }))
    }
}

struct TappedObject {
    inner: Box<dyn Object>,
    tap: Tap,
}

impl Object for TappedObject {
    fn length(&self) -> u64 {
        self.inner.length()
    }

    fn read(&self, ranges: &mut [ReadRange<'_>]) -> Result<(), StoreError> {
        (self.tap)("read")?;
        self.inner.read(ranges)
    }
}

struct TappedSession {
    inner: Arc<dyn Session>,
    tap: Tap,
}

impl Session for TappedSession {
    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        (self.tap)("create")?;
        let inner = self.inner.create()?;
        let tap = Arc::clone(&self.tap);
        Ok(Box::new(TappedUpload { inner, tap }))
    }

    fn publish(&self, objects: &[Key], head: &Key, content: &[u8]) -> Result<(), StoreError> {
        (self.tap)("publish")?;
        self.inner.publish(objects, head, content)
    }
}

struct TappedUpload {
    inner: Box<dyn Upload>,
    tap: Tap,
}

impl Upload for TappedUpload {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        (self.tap)("write")?;
        self.inner.append(bytes)
    }

    fn seal(self: Box<Self>, key: &Key) -> Result<(), StoreError> {
        (self.tap)("sync")?;
        self.inner.seal(key)
    }
}

struct TappedRemoval {
    inner: Box<dyn Removal>,
    tap: Tap,
}

impl Removal for TappedRemoval {
    fn remove(&mut self, key: &Key) -> Result<Outcome, StoreError> {
        (self.tap)("remove")?;
        self.inner.remove(key)
    }

    fn replace(&mut self, key: &Key, content: &[u8]) -> Result<Outcome, StoreError> {
        (self.tap)("replace")?;
        self.inner.replace(key, content)
    }

    fn discard(&mut self, key: &Key) -> Result<(), StoreError> {
        (self.tap)("remove")?;
        self.inner.discard(key)
    }

    fn remove_stale_sessions(&mut self) -> Result<usize, StoreError> {
        (self.tap)("remove old saves from")?;
        self.inner.remove_stale_sessions()
    }
}

impl fmt::Debug for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tapped").field(&self.inner).finish()
    }
}
