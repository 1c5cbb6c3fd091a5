//! The fixed structures of a pack; all integers little-endian.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const REGION_FRAMES: u32 = 1;
pub(super) const REGION_INDEX: u32 = 2;
pub(super) const REGION_TABLE: u32 = 3;
pub(super) const REGIONS: [u32; 3] = [REGION_FRAMES, REGION_INDEX, REGION_TABLE];

pub(super) const CODEC_RAW: u8 = 0;
pub(super) const CODEC_ZSTD: u8 = 1;

/// Bytes of a page's digest.
pub(super) const DIGEST_BYTES: usize = 32;

/// Begins the index table.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct TableHead {
    pub(super) frames_per_chunk: U32,
    pub(super) max_pages: U32,
    pub(super) frames: U64,
    pub(super) pages: U64,
    pub(super) reserved: [u8; 8],
}

/// One index chunk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ChunkEntry {
    pub(super) offset: U64,
    pub(super) length: U32,
    pub(super) pages: U32,
    pub(super) digest: [u8; DIGEST_BYTES],
}

/// One frame, in an index chunk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FrameEntry {
    pub(super) offset: U64,
    pub(super) stored: U32,
    pub(super) pages: U16,
    pub(super) codec: u8,
    pub(super) reserved: u8,
}

const _: () = assert!(size_of::<TableHead>() == 32);
const _: () = assert!(size_of::<ChunkEntry>() == 48);
const _: () = assert!(size_of::<FrameEntry>() == 16);
