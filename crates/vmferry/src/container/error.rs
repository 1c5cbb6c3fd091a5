//! Why a container cannot be opened.

use std::io;

use super::Foreign;
use super::compressed::LAYERS;
use crate::error::{Damage, Error, FormatError};
use crate::stream::StreamError;

/// What is wrong with an image that libvirt has not written to its end.
pub(super) const INCOMPLETE: &str =
    "this libvirt save image is not complete: libvirt is still writing it, or was interrupted";

/// Why a container cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// It is wrong. Offsets are those in the file.
    #[error(transparent)]
    Read(#[from] Error),
    /// It cannot be read.
    #[error(transparent)]
    Io(io::Error),
    /// libvirt has not written it to its end.
    #[error("{INCOMPLETE}")]
    Incomplete,
    /// It is something else than a saved machine, which can be named.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// It is nothing that is known.
    #[error(
        "this is nothing that vmferry knows: a migration stream begins with 'QEVM', and this with '{begins}'"
    )]
    Unknown {
        /// The first bytes, escaped where they are no text.
        begins: Box<str>,
    },
    /// It was compressed again and again.
    #[error("the data is compressed more than {LAYERS} times: decompress it first")]
    Layers,
    /// An image with several snapshots.
    #[error("the image has several snapshots: say which one ({names})")]
    WhichSnapshot {
        /// Those that there are.
        names: Box<str>,
    },
    /// An image without the snapshot that was asked for.
    #[error("the image has no snapshot '{wanted}'; it has {names}")]
    NoSuchSnapshot {
        /// What was asked for.
        wanted: Box<str>,
        /// Those that there are.
        names: Box<str>,
    },
    /// A snapshot of the disk alone.
    #[error("snapshot '{name}' is one of the disk alone: it holds no machine")]
    DiskOnly {
        /// Its name.
        name: Box<str>,
    },
    /// A disk without a machine in it.
    #[error("the qcow2 image holds no snapshot with a machine's state: it is only a disk")]
    NoState,
    /// A snapshot of something that has none.
    #[error("a snapshot was asked for, but this is no qcow2 image, which alone has them")]
    NotQcow2,
    /// An image through a pipe.
    #[error("a qcow2 image cannot be read through a pipe: it is read from place to place")]
    Pipe,
    /// Of several channels beside the main one, all but one must be those of multifd.
    #[error(
        "several channels do not begin as multifd channels do, with 11 22 33 44: there is at most one of \
         requested pages (postcopy-preempt)"
    )]
    NotMultifd,
}

impl ContainerError {
    /// Whether bytes were read and are wrong, rather than that they could not be read, or that it was not said which of
    /// several things is meant.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Read(error) => error.is_damage(),
            Self::Incomplete => true,
            _ => false,
        }
    }

    /// Whether it was read, and holds no machine.
    pub fn is_no_machine(&self) -> bool {
        matches!(
            self,
            Self::Foreign(_) | Self::Unknown { .. } | Self::NoState | Self::DiskOnly { .. }
        )
    }
}

impl From<io::Error> for ContainerError {
    fn from(error: io::Error) -> Self {
        match Damage::behind(&error) {
            Some(damage) => Self::Read(Error::Damaged(damage.clone())),
            None => Self::Io(error),
        }
    }
}

impl From<FormatError> for ContainerError {
    fn from(error: FormatError) -> Self {
        Self::Read(error.into())
    }
}

impl From<StreamError> for ContainerError {
    fn from(error: StreamError) -> Self {
        Self::Read(error.into())
    }
}
