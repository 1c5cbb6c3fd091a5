//! Internal snapshots in qcow2 images: what `savevm` writes. Read only, and only as much of qcow2 as it
//! takes to get at a machine's state.
//!
//! ```text
//! header ─► snapshot table ─► one snapshot: L1 table ─► L2 tables ─► clusters
//! ```
//!
//! A snapshot has an L1 table of its own. It maps the disk as it was, and behind the disk's end, from the
//! next L2 table on, the machine's state.

mod header;
mod map;
mod table;

pub use header::MAGIC;
pub use map::VmState;
pub use table::Snapshot;

use std::io;
use std::sync::Arc;

use super::{ContainerError, ReadAt};
use crate::error::FormatError;
use header::Header;

/// A qcow2 image that was opened for its snapshots.
pub struct Image {
    place: Arc<dyn ReadAt>,
    length: u64,
    header: Header,
    snapshots: Vec<Snapshot>,
}

impl Image {
    /// Opens an image of `length` bytes.
    ///
    /// # Errors
    /// It is none, is damaged, or keeps its clusters in a way that is not read here.
    pub fn open(place: Arc<dyn ReadAt>, length: u64) -> Result<Self, ContainerError> {
        let header = Header::read(&*place, length)?;
        let snapshots = table::read(&*place, length, &header)?;
        Ok(Self {
            place,
            length,
            header,
            snapshots,
        })
    }

    /// Its snapshots, in the order in which they were made.
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// The snapshot with this name or id; without one, the only one that holds a machine's state.
    ///
    /// # Errors
    /// There is none, or not only one.
    pub fn choose(&self, wanted: Option<&str>) -> Result<&Snapshot, ContainerError> {
        let with_state = |snapshot: &&Snapshot| snapshot.vm_state_size > 0;
        let Some(wanted) = wanted else {
            let mut there = self.snapshots.iter().filter(with_state);
            return match (there.next(), there.next()) {
                (Some(only), None) => Ok(only),
                (Some(_), Some(_)) => Err(ContainerError::WhichSnapshot {
                    names: self.names(),
                }),
                (None, _) => Err(ContainerError::NoState),
            };
        };
        // As QEMU looks for it: by its id, then by its name.
        let by_id = self.snapshots.iter().find(|snapshot| snapshot.id == wanted);
        let by_name = || {
            self.snapshots
                .iter()
                .find(|snapshot| snapshot.name == wanted)
        };
        match by_name().or(by_id) {
            Some(snapshot) if snapshot.vm_state_size > 0 => Ok(snapshot),
            Some(_) => Err(ContainerError::DiskOnly {
                name: wanted.into(),
            }),
            None => Err(ContainerError::NoSuchSnapshot {
                wanted: wanted.into(),
                names: self.names(),
            }),
        }
    }

    /// Where the state of a snapshot is.
    ///
    /// # Errors
    /// The tables that tell are damaged, or cannot be read.
    pub fn vm_state(&self, snapshot: &Snapshot) -> Result<VmState, ContainerError> {
        map::read_vm_state(&self.place, self.length, &self.header, snapshot)
    }

    fn names(&self) -> Box<str> {
        let names = self.snapshots.iter().map(|snapshot| {
            let Snapshot { id, name, .. } = snapshot;
            format!("'{name}' (id {id})")
        });
        names.collect::<Vec<_>>().join(", ").into()
    }
}

/// Reads what must be there.
fn read(
    place: &dyn ReadAt,
    room: &mut [u8],
    at: u64,
    what: &'static str,
) -> Result<(), ContainerError> {
    match place.read_exact_at(room, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(FormatError::truncated(at, what, room.len() as u64, 0).into())
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests;
