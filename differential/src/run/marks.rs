//! Which of the guest's memory may be given back.

use crate::memory::{Guest, PAGES};

/// A piece of memory that may be given back, and where it ends in the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) at: u32,
    pub(super) len: u32,
    pub(super) end: i64,
}

impl Mark {
    pub(super) fn touched(self) -> u64 {
        pages(self.at, self.len)
    }

    pub(super) fn is_whole(self) -> bool {
        self.at % 4096 == 0 && self.len % 4096 == 0
    }

    /// The pages that it covers.
    pub(super) fn whole(self) -> u64 {
        let first = self.at.div_ceil(4096);
        let end = (self.at + self.len) / 4096;
        (first..end.max(first)).map(|page| 1 << page).sum()
    }
}

/// The pages of which these bytes are.
pub(super) fn pages(at: u32, len: u32) -> u64 {
    if len == 0 {
        return 0;
    }
    let last = ((at + len - 1) / 4096).min(u32::try_from(PAGES).unwrap_or(1) - 1);
    (at / 4096..=last).map(|page| 1 << page).sum()
}

/// The part of this that is in the guest's memory.
pub(super) fn within(at: u32, len: u32) -> (u32, u32) {
    let end = u32::try_from(Guest::LEN).unwrap_or(u32::MAX);
    let at = at.min(end);
    (at, len.min(end - at))
}
