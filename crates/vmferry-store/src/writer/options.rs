//! What whoever saves decides, and what only they know.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::config::Defaults;
use crate::manifest::{BlockDevice, Machine, SaveRecord};

/// How to save. [`SaveOptions::default`] takes everything from the store and the machine.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// When the save began, which is what its id says; default: now.
    pub begun: Option<jiff::Timestamp>,
    /// Threads that hash and compress; default: one for each core.
    pub workers: Option<NonZeroUsize>,
    /// In place of the store's defaults.
    pub parameters: Option<Defaults>,
}

impl SaveOptions {
    /// Sets when the save began.
    #[must_use]
    pub fn begun(mut self, begun: jiff::Timestamp) -> Self {
        self.begun = Some(begun);
        self
    }

    /// Sets the number of threads that hash and compress.
    #[must_use]
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets frame size, pack size and compression level.
    #[must_use]
    pub fn parameters(mut self, parameters: Defaults) -> Self {
        self.parameters = Some(parameters);
        self
    }
}

/// What a checkpoint's manifest says beside what the stream told.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// The instant that the checkpoint shows; default: when the save began.
    pub created: Option<jiff::Timestamp>,
    /// The machine. Its machine type is taken from the stream if it is not set.
    pub machine: Machine,
    /// The disks that it had.
    pub block_devices: Vec<BlockDevice>,
    /// How it was saved.
    pub save: SaveRecord,
    /// Bytes of the stream.
    pub stream_bytes: Option<u64>,
    /// Sentences for people.
    pub warnings: Vec<String>,
    /// What the caller wants to remember.
    pub labels: BTreeMap<String, String>,
}
