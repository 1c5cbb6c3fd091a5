//! Page maps: for every page of every RAM block, whether it is absent, zero, or where it is stored.
//!
//! The invariant: a lookup reads and verifies one chunk of the map and no more, so opening the
//! checkpoint of a large machine costs no more than that of a small one. `docs/format.md`, section 7,
//! has the layout.

mod layout;
mod memory;
mod read;
mod write;

pub(crate) use memory::{MemoryMap, Recorded};
pub(crate) use read::PageMap;
pub(crate) use write::{Places, write_map};

use crate::pack::Place;

/// Pages that one chunk covers in maps that this version writes: 16 MiB of guest RAM on x86. The
/// table costs 48 bytes for each chunk, a cold lookup some 30 µs for decoding one.
const CHUNK_PAGES: u32 = 4096;

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageAt {
    /// The source never sent it.
    Absent,
    /// All of its bytes are zero.
    Zero,
    /// In a pack.
    Stored(Place),
}
