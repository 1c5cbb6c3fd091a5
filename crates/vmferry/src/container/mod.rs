//! What a saved state comes wrapped in, recognised by itself.
//!
//! | what | begins with | its bytes can be read again |
//! |---|---|---|
//! | a stream, possibly further on in its file (`file:PATH,offset=N`) | `QEVM` | from a file or block device |
//! | anything of these, compressed: gzip, bzip2, xz, lzop, zstd, lz4 | its magic | no |
//! | libvirt's save image: [`libvirt`] | `LibvirtQemud` | raw and sparse ones |
//! | an internal snapshot in a qcow2 image: [`qcow2`] | `QFI\xfb` | yes |
//!
//! [`open()`] looks at the first bytes, and gives the stream inside as a [`ReadChannel`], and as a place
//! ([`ReadAt`]) where its bytes can be read again, if they can. All but qcow2 may come through a pipe. What is something
//! else is named, if it is known: [`Foreign`].

mod beside;
mod compressed;
mod error;
mod findings;
mod foreign;
pub mod libvirt;
mod open;
mod place;
mod prefixed;
pub mod qcow2;

pub use beside::{Beside, OpenedChannel, Places, read_out};
pub use compressed::{Compression, Compressor};
pub use error::ContainerError;
pub use findings::Findings;
pub use foreign::Foreign;
pub use open::{open, open_wanted};
pub use place::{Part, ReadAt};

use std::fmt;
use std::sync::Arc;

use crate::channel::ReadChannel;
use crate::load::Mode;

/// What a stream was wrapped in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Container {
    /// Nothing: the stream itself, from an offset of its file on.
    Stream {
        /// Where in the file it begins, in bytes.
        offset: u64,
    },
    /// The stream, compressed.
    Compressed {
        /// Where in the file it begins, in bytes.
        offset: u64,
        /// How.
        compression: Compression,
        /// What the decompressed data is: often a stream, but that may come wrapped in something again.
        inner: Box<Self>,
    },
    /// A libvirt save image.
    Libvirt(Box<libvirt::Image>),
    /// An internal snapshot in a qcow2 image.
    Qcow2(Box<qcow2::Snapshot>),
}

/// A container that was opened.
pub struct Opened {
    /// What it is.
    pub container: Container,
    /// The stream in it, from its first byte on.
    pub stream: Box<dyn ReadChannel + Send>,
    /// The same bytes by their offset in the stream, where the container has them so: not from a pipe, and
    /// not where they are compressed.
    pub place: Option<Arc<dyn ReadAt>>,
    /// Where the stream begins in its file: what [`load::Options`](crate::load::Options) has to know.
    pub file_offset: u64,
    /// The other channels that the machine came through: see [`add_channel`](Self::add_channel).
    pub beside: Vec<Beside>,
    /// What is wrong with the container, and what is passed over in it; complete once the stream was read to its end.
    pub findings: Findings,
    mode: Mode,
}

/// Which of the things in a file is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The name or the id of a snapshot in a qcow2 image. Without one, there must be only one that holds a
    /// machine's state.
    pub snapshot: Option<String>,
    /// What is done with a container that is damaged. In rescue mode, what can be taken of it is opened, and
    /// [`Opened::findings`] tells what is wrong.
    pub mode: Mode,
}

impl Container {
    /// What the stream is in directly: of compressed data, what is in it.
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Compressed { inner, .. } => inner.innermost(),
            other => other,
        }
    }

    /// Whether the stream comes out of compressed data, so that offsets in it are none in the file, and damage to the data
    /// can come after its end.
    pub fn is_compressed(&self) -> bool {
        match self {
            Self::Compressed { .. } => true,
            Self::Libvirt(image) => matches!(image.format, libvirt::Format::Compressed(_)),
            Self::Stream { .. } | Self::Qcow2(_) => false,
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream { offset: 0 } => f.write_str("a stream"),
            Self::Stream { offset } => write!(f, "a stream at offset {offset:#x} of its file"),
            Self::Compressed {
                compression, inner, ..
            } => match &**inner {
                Self::Stream { .. } => write!(f, "a compressed stream ({compression})"),
                inner => write!(f, "{inner}, compressed ({compression})"),
            },
            Self::Libvirt(image) => write!(f, "a libvirt save image ({})", image.format),
            Self::Qcow2(snapshot) => {
                let qcow2::Snapshot { id, name, .. } = &**snapshot;
                write!(f, "snapshot '{name}' (id {id}) in a qcow2 image")
            }
        }
    }
}
