//! The fixed structures that every object has; all integers little-endian.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const HEADER_MAGIC: [u8; 8] = *b"vmferry\n";
pub(super) const FOOTER_MAGIC: [u8; 8] = *b"yrrefmv\n";

/// Length of an object's header.
pub(crate) const HEADER_BYTES: u64 = size_of::<Header>() as u64;

/// A reader that does not know this region's kind must refuse the object.
pub(super) const FLAG_CRITICAL: u32 = 1;
/// The region's digest is over its bytes.
pub(super) const FLAG_DIRECT: u32 = 2;

#[derive(
    Debug,
    Default,
    Clone,
    Copy,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub(super) struct Header {
    magic: [u8; 8],
    kind: [u8; 4],
    version: U32,
    reserved: [u8; 16],
}

impl Header {
    pub(super) fn new(kind: [u8; 4], version: u32) -> Self {
        Self {
            magic: HEADER_MAGIC,
            kind,
            version: version.into(),
            reserved: [0; 16],
        }
    }
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Region {
    pub(super) kind: U32,
    pub(super) flags: U32,
    pub(super) offset: U64,
    pub(super) length: U64,
    pub(super) count: U64,
    pub(super) digest: [u8; 32],
}

#[derive(Debug, Default, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Footer {
    pub(super) page_size: U32,
    pub(super) regions: U32,
    pub(super) length: U64,
    pub(super) kind: [u8; 4],
    pub(super) version: U32,
    pub(super) magic: [u8; 8],
}

const _: () = assert!(size_of::<Header>() == 32);
const _: () = assert!(size_of::<Region>() == 64);
const _: () = assert!(size_of::<Footer>() == 32);
