//! The named bounds that every length meets before memory is reserved for it.
//!
//! They are part of the format (`docs/format.md`, section 12): a writer keeps to them, a reader
//! refuses what is above them.

/// Bytes of `vmferry-store.json`.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Bytes of a manifest.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Features in one list.
pub const MAX_FEATURES: usize = 64;
/// Bytes of a feature's name.
pub const MAX_FEATURE_BYTES: usize = 64;
/// RAM blocks of a checkpoint.
pub const MAX_BLOCKS: usize = 4096;
/// Bytes of a RAM block's name.
pub const MAX_IDSTR_BYTES: usize = 255;
/// Pages in all RAM blocks of a checkpoint.
pub const MAX_PAGES: u64 = 1 << 36;
/// Packs that a checkpoint may name: as many as fit into a manifest with everything else in it.
pub const MAX_PACKS: usize = 1 << 16;
/// Bytes of one pack, map or state.
pub const MAX_OBJECT_BYTES: u64 = 1 << 44;
/// Regions of an object.
pub const MAX_REGIONS: u32 = 64;
/// Pages in one frame.
pub const MAX_FRAME_PAGES: u32 = 4096;
/// Bytes of the pages of one frame.
pub const MAX_FRAME_BYTES: u32 = 4 << 20;
/// Bytes by which a stored frame, or a stored chunk of a page map, may be longer than what is in it: room for
/// what a codec adds.
pub const MAX_CODEC_OVERHEAD: u32 = 64;
/// Frames in one pack.
pub const MAX_FRAMES: u64 = (1 << 24) - 1;
/// Frames that one index chunk describes.
pub const MAX_FRAMES_PER_CHUNK: u32 = 1024;
/// Bytes of one index chunk.
pub const MAX_INDEX_CHUNK_BYTES: u32 = 16 << 20;
/// Bytes of an index table or a map table.
pub const MAX_TABLE_BYTES: u64 = 256 << 20;
/// The least number of pages that a chunk of a page map covers.
pub const MIN_MAP_CHUNK_PAGES: u32 = 256;
/// The greatest number of pages that a chunk of a page map covers.
pub const MAX_MAP_CHUNK_PAGES: u32 = 1 << 16;
/// Bytes of the index of a device state.
pub const MAX_STATE_INDEX_BYTES: u64 = 64 << 20;
/// Bytes of the data of a device state, stored or decompressed.
pub const MAX_STATE_BYTES: u64 = 1 << 30;
