//! How to read a checkpoint, and how much memory that may take.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

/// How to read. [`ReadOptions::default`] suits a machine of the usual kind.
///
/// The limits bound what is kept, not what can be read: with the smallest ones everything is still
/// found, only read more often.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Bytes of decompressed frames that are kept, for all readers of the checkpoint together.
    pub cache_bytes: usize,
    /// Bytes of pack indexes that are kept: 8 KiB describe a megabyte of pages.
    pub index_bytes: usize,
    /// Pack files that are kept open.
    pub open_packs: usize,
    /// Pages whose places are sorted at a time when all pages are read, unless a single pack has more:
    /// sixteen bytes each.
    pub pass_pages: u64,
    /// Threads with which all pages are read, decompressed and verified; default: one for each core.
    pub workers: Option<NonZeroUsize>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            index_bytes: 4 << 20,
            open_packs: 128,
            pass_pages: 1 << 20,
            workers: None,
        }
    }
}

impl ReadOptions {
    /// Sets how many bytes of decompressed frames are kept.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets how many bytes of pack indexes are kept.
    #[must_use]
    pub fn index_bytes(mut self, bytes: usize) -> Self {
        self.index_bytes = bytes;
        self
    }

    /// Sets how many pack files are kept open.
    #[must_use]
    pub fn open_packs(mut self, packs: usize) -> Self {
        self.open_packs = packs;
        self
    }

    /// Sets how many pages are sorted at a time.
    #[must_use]
    pub fn pass_pages(mut self, pages: u64) -> Self {
        self.pass_pages = pages;
        self
    }

    /// Sets the number of threads that decompress and verify.
    #[must_use]
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = Some(workers);
        self
    }

    pub(super) fn worker_count(&self) -> usize {
        let cores = || available_parallelism().map_or(1, NonZeroUsize::get);
        self.workers.map_or_else(cores, NonZeroUsize::get)
    }
}
