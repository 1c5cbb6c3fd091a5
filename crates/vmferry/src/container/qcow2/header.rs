//! The header of a qcow2 image.
//!
//! ```text
//!   0  4  magic "QFI\xfb"          40  8  offset of the L1 table of the disk
//!   4  4  version: 2 or 3          60  4  snapshots
//!   8  8  offset of the backing    64  8  offset of the snapshot table
//!         file's name                     version 3:
//!  20  4  log2 of a cluster        72  8  features that a reader must know
//!  24  8  bytes of the disk       100  4  bytes of this header
//!  32  4  encryption: 0
//! ```

use super::read;
use crate::container::{ContainerError, ReadAt};
use crate::error::FormatError;

/// What an image begins with.
pub const MAGIC: &[u8; 4] = b"QFI\xfb";

/// Snapshots in one image, as QEMU bounds them.
const SNAPSHOTS: u32 = 1 << 16;

/// Clusters have 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// The image was not closed: its counts of references may be wrong, which no reader needs.
const DIRTY: u64 = 1 << 0;
/// Something in it is known to be damaged. What is read is checked anyway.
const CORRUPT: u64 = 1 << 1;
/// Compressed clusters, which a machine's state has none of, are not deflated.
const COMPRESSION_TYPE: u64 = 1 << 3;
/// Entries of L2 tables have 16 bytes: half of them say what is there of each cluster.
const EXTENDED_L2: u64 = 1 << 4;

/// What the header says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster_bits: u32,
    pub(super) disk_size: u64,
    pub(super) snapshots: u32,
    pub(super) snapshots_at: u64,
    pub(super) extended_l2: bool,
}

impl Header {
    pub(super) fn read(place: &dyn ReadAt, length: u64) -> Result<Self, ContainerError> {
        const WHAT: &str = "the header of a qcow2 image";
        let mut bytes = [0; 104];
        // One of version 2 ends earlier, but no image is as short as that.
        read(place, &mut bytes, 0, WHAT)?;
        Ok(Self::decode(&bytes, length)?)
    }

    fn decode(bytes: &[u8; 104], length: u64) -> Result<Self, FormatError> {
        const WHAT: &str = "the header of a qcow2 image";
        let be32 = |at: usize| {
            let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));
        if !bytes.starts_with(MAGIC) {
            let found = bytes.get(..4).unwrap_or_default().escape_ascii();
            return Err(FormatError::unexpected(0, WHAT, "QFI\\xfb", found));
        }
        let version = be32(4);
        if !(2..=3).contains(&version) {
            let what = "the version of a qcow2 image";
            return Err(FormatError::unexpected(4, what, "2 or 3", version));
        }
        let cluster_bits = be32(20);
        if !CLUSTER_BITS.contains(&cluster_bits) {
            let what = "the clusters of a qcow2 image";
            let expected = "2^9 to 2^21 bytes";
            let found = format!("2^{cluster_bits}");
            return Err(FormatError::unexpected(20, what, expected, found));
        }
        if be32(32) != 0 {
            return Err(FormatError::unsupported(32, "an encrypted qcow2 image"));
        }
        let features = if version == 2 { 0 } else { be64(72) };
        let known = DIRTY | CORRUPT | COMPRESSION_TYPE | EXTENDED_L2;
        if features & !known != 0 {
            let what = format!(
                "a qcow2 image with incompatible features {:#x}",
                features & !known
            );
            return Err(FormatError::unsupported(72, what));
        }
        let (snapshots, snapshots_at) = (be32(60), be64(64));
        if snapshots > SNAPSHOTS {
            let what = "the snapshot table of a qcow2 image";
            let (len, limit) = (u64::from(snapshots), u64::from(SNAPSHOTS));
            return Err(FormatError::too_long(60, what, len, limit));
        }
        if snapshots > 0 && snapshots_at >= length {
            let what = "the place of the snapshot table";
            let expected = format!("one within the image's {length} bytes");
            return Err(FormatError::unexpected(64, what, expected, snapshots_at));
        }
        Ok(Self {
            cluster_bits,
            disk_size: be64(24),
            snapshots,
            snapshots_at,
            extended_l2: features & EXTENDED_L2 != 0,
        })
    }

    /// log2 of the entries in an L2 table, which takes one cluster.
    pub(super) fn l2_bits(self) -> u32 {
        self.cluster_bits - if self.extended_l2 { 4 } else { 3 }
    }
}
