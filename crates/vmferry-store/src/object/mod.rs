//! What packs, page maps and device states have in common: a header, regions, and a tail from whose
//! digest the object has its name.
//!
//! The invariant: a [`Tail`] that was read is the one that was written, so its regions lie inside the
//! object, and a direct region can be believed once its digest was compared.
//!
//! ```text
//! header 32 | regions … | region table, 64 each | footer 32
//! ```

mod build;
mod layout;
mod tail;

pub(crate) use build::Builder;
pub(crate) use layout::HEADER_BYTES;
pub(crate) use tail::{Tail, check_header, read_chunk};

use crate::digest::Digest;
use crate::features::FORMAT_VERSION;
use crate::name::ObjectKind;

const VERSION: u32 = 1;
const _: () = assert!(VERSION as u64 == FORMAT_VERSION);

impl ObjectKind {
    /// The kind as it stands in a file.
    pub(crate) const fn code(self) -> [u8; 4] {
        match self {
            Self::Pack => *b"PACK",
            Self::Map => *b"MAP ",
            Self::State => *b"STAT",
        }
    }
}

/// A stretch of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// How many of whatever the region holds.
    pub(crate) count: u64,
    /// For direct regions: the digest of the bytes.
    pub(crate) digest: Option<Digest>,
}
