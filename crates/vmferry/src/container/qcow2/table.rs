//! The snapshot table of a qcow2 image.
//!
//! ```text
//!  0  8  offset of its L1 table      24  8  nanoseconds that the guest had run
//!  8  4  entries of it               32  4  bytes of the machine's state
//! 12  2  length of its id            36  4  length of what follows here:
//! 14  2  length of its name          40  8  bytes of the machine's state, where they do not fit above
//! 16  4  seconds since 1970          48  8  bytes of the disk
//! 20  4  and nanoseconds             …      id, name, and padding to 8 bytes
//! ```

use std::time::{Duration, SystemTime};

use super::header::Header;
use crate::container::{ContainerError, ReadAt};
use crate::error::FormatError;

/// Bytes of the fields of an entry that are always there.
const FIXED: usize = 40;

/// Bytes of the fields that may follow them. There are 24 so far.
const EXTRA: u32 = 1024;

/// Bytes of the whole table: with names of a usual length, more snapshots than anybody has.
const TABLE: u64 = 64 << 20;

/// Entries of an L1 table, as QEMU bounds it: 32 MiB.
const L1_ENTRIES: u32 = 1 << 22;

/// An internal snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number, as text.
    pub id: String,
    /// The name that a person gave it.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// How long the guest had run.
    pub vm_clock: Duration,
    /// Bytes of the machine's state; 0 in a snapshot of the disk alone.
    pub vm_state_size: u64,
    /// Bytes of the disk.
    pub disk_size: u64,
    pub(super) l1_at: u64,
    pub(super) l1_entries: u32,
}

pub(super) fn read(
    place: &dyn ReadAt,
    length: u64,
    header: &Header,
) -> Result<Vec<Snapshot>, ContainerError> {
    let mut snapshots = Vec::new();
    let mut at = header.snapshots_at;
    for _ in 0..header.snapshots {
        let (snapshot, next) = entry(place, header, at)?;
        let l1_end = snapshot
            .l1_at
            .checked_add(u64::from(snapshot.l1_entries) * 8);
        if l1_end.is_none_or(|end| end > length) {
            let what = "the place of a snapshot's L1 table";
            let expected = format!("one within the image's {length} bytes");
            let found = format!("{:#x}", snapshot.l1_at);
            return Err(FormatError::unexpected(at, what, expected, found).into());
        }
        at = next;
        if at - header.snapshots_at > TABLE {
            let what = "the snapshot table of a qcow2 image";
            return Err(FormatError::too_long(at, what, at - header.snapshots_at, TABLE).into());
        }
        snapshots.push(snapshot);
    }
    Ok(snapshots)
}

/// Reads one entry, and tells where the next one begins.
fn entry(place: &dyn ReadAt, header: &Header, at: u64) -> Result<(Snapshot, u64), ContainerError> {
    const WHAT: &str = "an entry of the snapshot table";
    let beyond = || FormatError::unexpected(at, WHAT, "an end below 2^64", "more");
    let mut fixed = [0; FIXED];
    read_all(place, &mut fixed, at)?;
    let be16 = |at: usize| {
        let bytes = fixed.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
    };
    let be32 = |at: usize| u32::from(be16(at)) << 16 | u32::from(be16(at + 2));
    let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));
    let l1_entries = be32(8);
    if l1_entries > L1_ENTRIES {
        let what = "the L1 table of a snapshot";
        let (len, limit) = (u64::from(l1_entries), u64::from(L1_ENTRIES));
        return Err(FormatError::too_long(at, what, len, limit).into());
    }
    let extra_len = be32(36);
    if extra_len > EXTRA {
        let (len, limit) = (u64::from(extra_len), u64::from(EXTRA));
        return Err(FormatError::too_long(at, WHAT, len, limit).into());
    }
    let (extra_len, id_len) = (extra_len as usize, usize::from(be16(12)));
    let mut rest = vec![0; extra_len + id_len + usize::from(be16(14))];
    let rest_at = at.checked_add(FIXED as u64).ok_or_else(beyond)?;
    read_all(place, &mut rest, rest_at)?;
    let (extra, texts) = rest.split_at_checked(extra_len).unwrap_or_default();
    let (id, name) = texts.split_at_checked(id_len).unwrap_or_default();
    let extra_be64 = |at: usize| {
        let bytes = extra.get(at..).and_then(<[u8]>::first_chunk)?;
        Some(u64::from_be_bytes(*bytes))
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let since = Duration::from_secs(be32(16).into()) + Duration::from_nanos(be32(20).into());
    let snapshot = Snapshot {
        id: text(id),
        name: text(name),
        created: SystemTime::UNIX_EPOCH + since,
        vm_clock: Duration::from_nanos(be64(24)),
        vm_state_size: extra_be64(0).unwrap_or_else(|| be32(32).into()),
        disk_size: extra_be64(8).unwrap_or(header.disk_size),
        l1_at: be64(0),
        l1_entries,
    };
    let end = rest_at.checked_add(rest.len() as u64);
    let next = end.and_then(|end| end.checked_next_multiple_of(8));
    Ok((snapshot, next.ok_or_else(beyond)?))
}

fn read_all(place: &dyn ReadAt, room: &mut [u8], at: u64) -> Result<(), ContainerError> {
    super::read(place, room, at, "an entry of the snapshot table")
}
