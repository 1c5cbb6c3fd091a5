//! The named bounds that every length in a stream meets before memory is reserved for it.
//!
//! Each is well above anything that a real QEMU sends, and well below what would hurt us.

/// The most bytes that a decoder asks a [`Source`](super::Source) for at once. A
/// [`Reader`](crate::stream::Reader) with a smaller window makes it as large as this when it has to.
pub const TAKE: usize = 1 << 16;

/// Length of a machine type's name, in bytes (`pc-i440fx-10.0` has 14).
pub const MACHINE: u32 = 255;

/// Capabilities listed in the configuration (QEMU 10.0 knows 22, and lists at most two).
pub const CAPABILITIES: u32 = 256;

/// RAM blocks in one list (a machine with 256 DIMMs and as many PCI devices has some 800).
pub const RAM_BLOCKS: usize = 4096;

/// Lists of RAM blocks in one stream. QEMU sends one.
pub const RAM_LISTS: usize = 64;

/// RAM blocks that a visitor is shown, each as often as it is: in a mapped-ram file with each block all before it.
pub const RAM_BLOCKS_LISTED: usize = RAM_BLOCKS * RAM_BLOCKS;

/// Bytes of one RAM block: 2^52, what x86 can address.
pub const RAM_BLOCK_LENGTH: u64 = 1 << 52;

/// Bytes of all device sections that stand before the RAM together, and of all that stand behind it. A large machine has a few
/// MiB; graphics and VFIO devices carry more.
pub const DEVICE_STATE: usize = 64 << 20;

/// Bytes of a package of a postcopy migration, which holds the device sections.
pub const PACKAGE: usize = DEVICE_STATE;

/// Bytes of the JSON description of the device sections (a machine with 70 devices: 300 KiB).
pub const VMDESC: usize = 16 << 20;

/// Objects in that text: each takes up to some 500 bytes here. The machine `q35-many` of `testdata` has
/// 1,838.
pub const VMDESC_OBJECTS: usize = 1 << 18;

/// Values (fields, array elements, structures) of one device's state: each takes some 100 bytes here.
/// The most in a section of a machine with 70 devices is 4,000. A short section may have fewer: see
/// [`vmstate`](super::vmstate).
pub const VMSTATE_VALUES: usize = 1 << 20;

/// Bytes that the windows of all multifd channels with zstd take together: eight channels of level 20 (QEMU's highest),
/// or 256 of level 9. QEMU's default, level 1, takes 512 KiB for each.
pub const ZSTD_WINDOWS: u64 = 1 << 30;

/// Bytes of the bitmap of one mapped-ram block: 2 TiB of pages of 4 KiB.
pub const MAPPED_BITMAP: usize = 64 << 20;

/// Sections of one stream: START and FULL elements.
pub const SECTIONS: usize = 1 << 16;

/// Bytes that may be searched for footers of device sections beyond where the sections end, in a damaged stream or for
/// devices of which the description does not tell the length: so many, and for each byte of the stream before them
/// [`FOOTERS_SOUGHT_FOR_EACH`].
pub const FOOTERS_SOUGHT: u64 = 1 << 20;

/// See [`FOOTERS_SOUGHT`].
pub const FOOTERS_SOUGHT_FOR_EACH: u64 = 16;

/// Iterable sections of one stream: `ram`, and one for each device that sends its state in pieces.
pub const ITERABLES: usize = 1024;

/// Bytes of bits in one chunk of a dirty bitmap, as QEMU bounds them.
pub const DIRTY_BITMAP_CHUNK: usize = 10 << 10;

/// Assumptions that a summary lists.
pub const ASSUMPTIONS: usize = 256;

/// Payload of a return-path message, as QEMU's own source bounds it.
pub const RETURN_PATH: u16 = 512;
