//! What a saved state comes wrapped in, recognised by itself.
//!
//! | what | begins with | its bytes can be read again |
//! |---|---|---|
//! | a stream, possibly further on in its file (`file:PATH,offset=N`) | `QEVM` | from a file |
//! | a compressed one: gzip, bzip2, xz, lzop, zstd, lz4 | its magic | no |
//! | libvirt's save image: [`libvirt`] | `LibvirtQemud` | raw and sparse ones |
//! | an internal snapshot in a qcow2 image: [`qcow2`] | `QFI\xfb` | yes |
//!
//! [`open`] looks at the first bytes, and gives the stream inside as a [`ReadChannel`], and as a place
//! ([`ReadAt`]) where its bytes can be read again, if they can. All but qcow2 may come through a pipe.

mod beside;
mod compressed;
pub mod libvirt;
mod place;
mod prefixed;
pub mod qcow2;

pub use beside::{Beside, OpenedChannel, Places};
pub use compressed::{Compression, Compressor};
pub use place::{Part, ReadAt};

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use crate::channel::{self, ReadChannel, SegmentMut};
use crate::error::{Error, FormatError};
use crate::stream::{Reader, StreamError};
use compressed::decompress;
use place::Sequence;
use prefixed::Prefixed;

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
}

/// Which of the things in a file is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// The name or the id of a snapshot in a qcow2 image. Without one, there must be only one that holds a
    /// machine's state.
    pub snapshot: Option<String>,
}

/// Why a container cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// It is wrong. Offsets are those in the file.
    #[error(transparent)]
    Read(#[from] Error),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// libvirt has not written it to its end.
    #[error(
        "this libvirt save image is not complete: libvirt is still writing it, or was interrupted"
    )]
    Incomplete,
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

/// Opens what a file holds from `offset` on.
///
/// # Errors
/// The file cannot be read, or is damaged, or holds several states.
pub fn open(file: File, offset: u64) -> Result<Opened, ContainerError> {
    let snapshot = None;
    open_wanted(file, &Wanted { offset, snapshot })
}

/// Opens what is wanted of a file.
///
/// # Errors
/// As for [`open`]; or what is wanted is not there.
pub fn open_wanted(file: File, wanted: &Wanted) -> Result<Opened, ContainerError> {
    let offset = wanted.offset;
    let place = match file.metadata()?.is_file() {
        true => Some(Part::new(file.try_clone()?, offset)?),
        false => None,
    };
    let length = file.metadata()?.len();
    let channel = match (&place, offset) {
        (None, 0) => channel::File::new(file),
        _ => channel::File::from_offset(file, offset)?,
    };
    let mut reader = Reader::new(channel);
    let head = reader.peek_up_to(libvirt::MAGIC.len().max(compressed::MAGIC_LEN))?;
    if head.starts_with(qcow2::MAGIC) {
        let place = place.ok_or(ContainerError::Pipe)?;
        return snapshot(place, length.saturating_sub(offset), wanted);
    }
    if wanted.snapshot.is_some() {
        return Err(ContainerError::NotQcow2);
    }
    if head.starts_with(libvirt::MAGIC) {
        return image(reader, place, offset);
    }
    if let Some(compression) = Compression::of(head) {
        let container = Container::Compressed {
            offset,
            compression,
        };
        return unpacked(container, compression, reader);
    }
    opened(Container::Stream { offset }, reader, place, offset)
}

/// The stream that comes next in `reader`, and begins at `file_offset` in `place`.
fn opened(
    container: Container,
    reader: Reader<channel::File>,
    place: Option<Part>,
    file_offset: u64,
) -> Result<Opened, ContainerError> {
    let (channel, read_ahead) = reader.into_parts();
    let stream: Box<dyn ReadChannel + Send> = match &place {
        // A channel of its own can skip what is not wanted.
        Some(_) => Box::new(channel::File::from_offset(
            channel.into_inner(),
            file_offset,
        )?),
        None => Box::new(Prefixed::new((channel, read_ahead))),
    };
    Ok(Opened {
        container,
        stream,
        place: place.map(|place| Arc::new(place) as _),
        file_offset,
        beside: Vec::new(),
    })
}

fn unpacked(
    container: Container,
    compression: Compression,
    reader: impl BufRead + Send + 'static,
) -> Result<Opened, ContainerError> {
    Ok(Opened {
        container,
        stream: decompress(compression, reader)?,
        place: None,
        file_offset: 0,
        beside: Vec::new(),
    })
}

fn image(
    mut reader: Reader<channel::File>,
    place: Option<Part>,
    offset: u64,
) -> Result<Opened, ContainerError> {
    let libvirt::Decoded { header, image } = libvirt::Image::decode(&mut reader)?;
    if header.written == libvirt::Written::Part {
        return Err(ContainerError::Incomplete);
    }
    let base = offset.saturating_add(reader.position());
    let format = image.format;
    let container = Container::Libvirt(Box::new(image));
    match format {
        libvirt::Format::Compressed(compression) => unpacked(container, compression, reader),
        libvirt::Format::Raw | libvirt::Format::Sparse => {
            let place = place.map(|place| place.further(base - offset));
            opened(container, reader, place, base)
        }
    }
}

fn snapshot(place: Part, length: u64, wanted: &Wanted) -> Result<Opened, ContainerError> {
    let image = qcow2::Image::open(Arc::new(place), length)?;
    let snapshot = image.choose(wanted.snapshot.as_deref())?;
    let state = image.vm_state(snapshot)?;
    let size = state.size();
    let place: Arc<dyn ReadAt> = Arc::new(state);
    Ok(Opened {
        container: Container::Qcow2(Box::new(snapshot.clone())),
        stream: Box::new(Sequence::new(Arc::clone(&place), size)),
        place: Some(place),
        file_offset: 0,
        beside: Vec::new(),
    })
}

impl ReadChannel for Box<dyn ReadChannel + Send> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        (**self).read_segments(segments)
    }

    fn read_ahead(&self) -> usize {
        (**self).read_ahead()
    }

    fn skip(&mut self, n: u64) -> io::Result<bool> {
        (**self).skip(n)
    }

    fn expect_end(&mut self) {
        (**self).expect_end();
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        (**self).wait(timeout)
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream { offset: 0 } => f.write_str("a stream"),
            Self::Stream { offset } => write!(f, "a stream at offset {offset:#x} of its file"),
            Self::Compressed { compression, .. } => {
                write!(f, "a compressed stream ({compression})")
            }
            Self::Libvirt(image) => write!(f, "a libvirt save image ({})", image.format),
            Self::Qcow2(snapshot) => {
                let qcow2::Snapshot { id, name, .. } = &**snapshot;
                write!(f, "snapshot '{name}' (id {id}) in a qcow2 image")
            }
        }
    }
}
