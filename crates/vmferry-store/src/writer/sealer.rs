//! The thread that makes full packs durable while the next one is filled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use super::thread::{PANICKED, spawn};
use crate::digest::Keys;
use crate::error::StoreError;
use crate::manifest::PackRecord;
use crate::pack::PackWriter;

/// The thread that ends packs: writing the index is quick, but making it all durable may take seconds.
pub(super) struct Sealer {
    full: Option<Sender<PackWriter>>,
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<PackRecord>, StoreError>>>,
}

impl Sealer {
    pub(super) fn start(keys: Arc<Keys>) -> Result<Self, StoreError> {
        let (full, packs) = bounded::<PackWriter>(1);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        let thread = spawn("vmferry-seal", move || {
            let mut records = Vec::new();
            for pack in packs {
                match pack.finish(&keys) {
                    Ok(record) => records.push(record),
                    Err(error) => {
                        flag.store(true, Ordering::Release);
                        return Err(error);
                    }
                }
            }
            Ok(records)
        })?;
        Ok(Self {
            full: Some(full),
            failed,
            thread: Some(thread),
        })
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Hands on a full pack.
    pub(super) fn submit(&mut self, pack: PackWriter) -> Result<(), StoreError> {
        match &self.full {
            Some(full) if full.send(pack).is_ok() => Ok(()),
            _ => Err(self.failure()),
        }
    }

    pub(super) fn failure(&mut self) -> StoreError {
        match self.finish() {
            Ok(_) => StoreError::Unreachable("the sealer ended before the packer did"),
            Err(error) => error,
        }
    }

    pub(super) fn finish(&mut self) -> Result<Vec<PackRecord>, StoreError> {
        self.full = None;
        let Some(thread) = self.thread.take() else {
            return Err(StoreError::AlreadyFailed);
        };
        thread.join().unwrap_or(Err(PANICKED))
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
