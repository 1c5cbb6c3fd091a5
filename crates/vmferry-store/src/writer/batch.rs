//! What goes through a save's queues: pages as they came, and frames of those that are new.
//!
//! Buffers are reused: nothing is allocated for a page. A batch has as many pages with content as a frame,
//! so that a batch of new pages becomes a frame by giving its buffers away.

use vmferry::ram::{BlockIndex, PageIndex};

use super::known::Lookup;
use crate::codec::Codec;
use crate::digest::Digest;

/// Some pages in the order in which they came.
#[derive(Default)]
pub(super) struct Batch {
    /// Its number in the save.
    pub(super) number: u64,
    /// The lengths in pages that the blocks have from here on, where they changed.
    pub(super) lengths: Option<Vec<u64>>,
    pub(super) entries: Vec<Entry>,
    /// The pages with content.
    pub(super) raw: Vec<u8>,
    /// One for each of these.
    pub(super) digests: Vec<Digest>,
    /// One for each of these.
    pub(super) lookups: Vec<Lookup>,
}

/// A page that came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) block: BlockIndex,
    pub(super) page: PageIndex,
    pub(super) content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Zero,
    /// The next page in [`Batch::raw`].
    Data,
}

impl Batch {
    /// Makes it empty, with another number.
    pub(super) fn reset(&mut self, number: u64) {
        self.number = number;
        self.lengths = None;
        self.entries.clear();
        self.raw.clear();
        self.digests.clear();
        self.lookups.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.lengths.is_none()
    }
}

/// Some new pages on their way into a pack.
pub(super) struct Frame {
    /// Its number in the save.
    pub(super) number: u64,
    /// Its pages.
    pub(super) raw: Vec<u8>,
    pub(super) digests: Vec<Digest>,
    pub(super) codec: Codec,
    /// The pages compressed; of no meaning with [`Codec::Raw`].
    pub(super) compressed: Vec<u8>,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            number: 0,
            raw: Vec::new(),
            digests: Vec::new(),
            codec: Codec::Raw,
            compressed: Vec::new(),
        }
    }
}

/// A message on the way from several workers to the one thread that puts their work in order.
pub(super) enum Done<T> {
    Item(T),
    /// The worker could not go on, and has reported why: what it had in hand will not come.
    Failed,
}
