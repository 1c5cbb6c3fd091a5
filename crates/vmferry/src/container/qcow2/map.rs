//! Where the bytes of a machine's state are in a qcow2 image.

use std::io;
use std::sync::Arc;

use super::header::Header;
use super::{Snapshot, read};
use crate::container::{ContainerError, ReadAt};
use crate::error::FormatError;

/// Runs of neighbouring clusters that one machine's state may be in.
const EXTENTS: usize = 1 << 22;

/// The bits of an entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whatever is there (version 3, without extended entries).
const ZERO: u64 = 1 << 0;

/// Parts of a cluster that an extended entry tells apart.
const SUBCLUSTERS: u32 = 32;

/// A machine's state in a qcow2 image: its bytes by their offset in its stream.
pub struct VmState {
    place: Arc<dyn ReadAt>,
    size: u64,
    /// By where they begin. What lies between them is zeros.
    extents: Vec<Extent>,
}

/// Neighbouring bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    /// Where in the state.
    at: u64,
    len: u64,
    /// Where in the image.
    host: u64,
}

impl VmState {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl ReadAt for VmState {
    fn read_exact_at(&self, mut room: &mut [u8], mut offset: u64) -> io::Result<()> {
        let end = offset.checked_add(room.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let first = self
            .extents
            .partition_point(|extent| extent.at + extent.len <= offset);
        let mut extents = self.extents.get(first..).unwrap_or_default().iter();
        while !room.is_empty() {
            let extent = extents.next();
            // Up to the extent, or to the end, there is nothing.
            let gap = extent.map_or(u64::MAX, |extent| extent.at.saturating_sub(offset));
            let gap = usize::try_from(gap).unwrap_or(usize::MAX).min(room.len());
            let (zeros, rest) = room.split_at_mut(gap);
            zeros.fill(0);
            offset += gap as u64;
            room = rest;
            let Some(extent) = extent else {
                return Ok(());
            };
            let skip = offset.saturating_sub(extent.at);
            let left = extent.len.saturating_sub(skip);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(room.len());
            let (here, rest) = room.split_at_mut(len);
            self.place.read_exact_at(here, extent.host + skip)?;
            offset += len as u64;
            room = rest;
        }
        Ok(())
    }
}

/// Finds the state of `snapshot` in an image of `length` bytes.
pub(super) fn read_vm_state(
    place: &Arc<dyn ReadAt>,
    length: u64,
    header: &Header,
    snapshot: &Snapshot,
) -> Result<VmState, ContainerError> {
    const WHAT: &str = "the L1 table of a snapshot";
    let (l2_bits, size) = (header.l2_bits(), snapshot.vm_state_size);
    // Bytes that one L2 table maps: at most 2^21 times 2^18.
    let reach = 1_u64 << (header.cluster_bits + l2_bits);
    let first = snapshot.disk_size.div_ceil(reach);
    let tables = size.div_ceil(reach);
    let entries = u64::from(snapshot.l1_entries);
    if first.checked_add(tables).is_none_or(|end| end > entries) {
        let expected = format!("{tables} entries for the machine's state from entry {first} on");
        let found = format!("{entries} entries in all");
        let at = snapshot.l1_at;
        return Err(FormatError::unexpected(at, WHAT, expected, found).into());
    }
    // Within the table, which has at most 2^22 entries and lies within the image.
    let l1_at = snapshot.l1_at + first * 8;
    let mut l1 = vec![0; usize::try_from(tables * 8).unwrap_or(0)];
    read(&**place, &mut l1, l1_at, WHAT)?;
    let mut map = Map {
        length,
        left: length,
        extents: Vec::new(),
    };
    let mut table = vec![0; 1 << header.cluster_bits];
    for (number, entry) in (0_u64..).zip(words(&l1)) {
        let l2_at = entry & OFFSET;
        if l2_at == 0 {
            continue;
        }
        map.uses(l2_at, table.len() as u64, l1_at + number * 8)?;
        read(&**place, &mut table, l2_at, "an L2 table")?;
        map.table(header, &table, l2_at, number * reach, size)?;
    }
    Ok(VmState {
        place: Arc::clone(place),
        size,
        extents: map.extents,
    })
}

struct Map {
    length: u64,
    /// Bytes of the image that nothing was found to be in. Each is in one cluster: more than all means
    /// that the tables lie, and ends what could go on for ever.
    left: u64,
    extents: Vec<Extent>,
}

impl Map {
    /// Notes that something of `len` bytes is at `at`, as the entry at `said_at` says, and tells how many of
    /// them are there: behind the end of the image there are zeros.
    fn uses(&mut self, at: u64, len: u64, said_at: u64) -> Result<u64, FormatError> {
        const WHAT: &str = "an entry of a snapshot's tables";
        let there = self.length.saturating_sub(at).min(len);
        if at & 511 != 0 || there == 0 {
            let expected = format!("a cluster within the image's {} bytes", self.length);
            return Err(FormatError::unexpected(
                said_at,
                WHAT,
                expected,
                format!("{at:#x}"),
            ));
        }
        let left = self.left.checked_sub(there);
        self.left = left.ok_or_else(|| {
            FormatError::unexpected(
                said_at,
                WHAT,
                "each cluster once",
                "more than the image has",
            )
        })?;
        Ok(there)
    }

    /// Goes through an L2 table, which maps the state from `from` on.
    fn table(
        &mut self,
        header: &Header,
        table: &[u8],
        table_at: u64,
        from: u64,
        size: u64,
    ) -> Result<(), FormatError> {
        let cluster = 1_u64 << header.cluster_bits;
        let entry_len = if header.extended_l2 { 16 } else { 8 };
        for (number, entry) in (0_u64..).zip(table.chunks_exact(entry_len)) {
            let (at, said_at) = (
                from + number * cluster,
                table_at + number * entry_len as u64,
            );
            if at >= size {
                break;
            }
            let mut words = words(entry);
            let (word, parts) = (words.next().unwrap_or(0), words.next());
            if word & COMPRESSED != 0 {
                let what = "a compressed cluster in the state of a machine";
                return Err(FormatError::unsupported(said_at, what));
            }
            let host = word & OFFSET;
            if host == 0 || (parts.is_none() && word & ZERO != 0) {
                continue;
            }
            let there = self.uses(host, cluster, said_at)?;
            let parts = parts.unwrap_or(u64::MAX);
            let part_len = match header.extended_l2 {
                true => cluster / u64::from(SUBCLUSTERS),
                false => cluster,
            };
            let count = u32::try_from(cluster / part_len).unwrap_or(1);
            for part in (0..count).filter(|part| parts & 1 << part != 0) {
                let skip = u64::from(part) * part_len;
                if skip >= there {
                    break;
                }
                let extent = Extent {
                    at: at + skip,
                    len: (there - skip).min(part_len),
                    host: host + skip,
                };
                self.push(extent, said_at)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, next: Extent, said_at: u64) -> Result<(), FormatError> {
        if let Some(last) = self.extents.last_mut() {
            if last.at + last.len == next.at && last.host + last.len == next.host {
                last.len += next.len;
                return Ok(());
            }
        }
        if self.extents.len() == EXTENTS {
            let what = "the list of places of a machine's state";
            let (len, limit) = (EXTENTS as u64 + 1, EXTENTS as u64);
            return Err(FormatError::too_long(said_at, what, len, limit));
        }
        self.extents.push(next);
        Ok(())
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|word| {
        let word = word.first_chunk().copied().unwrap_or_default();
        u64::from_be_bytes(word)
    })
}
