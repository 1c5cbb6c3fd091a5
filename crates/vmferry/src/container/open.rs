//! Opening: from the first bytes of a file inwards, until there is a stream.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::compressed::{self, Compression, Decompressor, LAYERS};
use super::error::INCOMPLETE;
use super::place::Sequence;
use super::prefixed::Prefixed;
use super::{
    Container, ContainerError, Findings, Foreign, Opened, Part, ReadAt, Wanted, foreign, libvirt,
    qcow2,
};
use crate::channel::{self, ReadChannel, Std};
use crate::error::{Damage, Error, FormatError};
use crate::load::Mode;
use crate::stream::{OnWouldBlock, Reader, ReaderConfig};
use crate::wire::header;

/// Bytes that are shown of something that is not known.
const BEGINS: usize = 16;

type Channel = Box<dyn ReadChannel + Send>;

/// Opens what a file holds from `offset` on.
///
/// # Errors
/// The file cannot be read, or is damaged, or holds several states, or something else.
pub fn open(file: File, offset: u64) -> Result<Opened, ContainerError> {
    let wanted = Wanted {
        offset,
        ..Wanted::default()
    };
    open_wanted(file, &wanted)
}

/// Opens what is wanted of a file.
///
/// # Errors
/// As for [`open`]; or what is wanted is not there.
pub fn open_wanted(file: File, wanted: &Wanted) -> Result<Opened, ContainerError> {
    let naming = Naming::Foreign;
    file_of(file, wanted, naming, Findings::default())
}

/// Whether something that is no saved machine is named, instead of being taken for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    Foreign,
    /// A channel of pages begins with anything.
    Nothing,
}

/// What all layers share.
struct Opening {
    mode: Mode,
    naming: Naming,
    findings: Findings,
}

/// What is opened next.
struct Layer {
    reader: Reader<Channel>,
    /// The file, and the part of it from `offset` on, where it can be read at any place.
    places: Option<(File, Part)>,
    /// Where `reader` stood when the layer began, in the file or the decompressed data.
    offset: u64,
    /// Around how many layers of compressed data this one is.
    depth: usize,
}

pub(super) fn file_of(
    file: File,
    wanted: &Wanted,
    naming: Naming,
    findings: Findings,
) -> Result<Opened, ContainerError> {
    let offset = wanted.offset;
    let length = channel::seekable_len(&file)?;
    let places = match length {
        Some(_) => Some((file.try_clone()?, Part::new(file.try_clone()?, offset)?)),
        None => None,
    };
    let channel = match (&places, offset) {
        (None, 0) => channel::File::new(file),
        _ => channel::File::from_offset(file, offset)?,
    };
    // A decompressor cannot be taken up again in its middle.
    let config = ReaderConfig {
        on_would_block: OnWouldBlock::Wait,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::with_config(Box::new(channel) as Channel, &config);
    let head = reader.peek_up_to(qcow2::MAGIC.len())?;
    if head == qcow2::MAGIC {
        let (_, place) = places.ok_or(ContainerError::Pipe)?;
        let length = length.unwrap_or(0).saturating_sub(offset);
        return snapshot(place, length, wanted, findings);
    }
    if wanted.snapshot.is_some() {
        return Err(ContainerError::NotQcow2);
    }
    let opening = Opening {
        mode: wanted.mode,
        naming,
        findings,
    };
    opening.layer(Layer {
        reader,
        places,
        offset,
        depth: 0,
    })
}

impl Opening {
    fn layer(&self, mut layer: Layer) -> Result<Opened, ContainerError> {
        let head = layer
            .reader
            .peek_up_to(libvirt::MAGIC.len().max(compressed::MAGIC_LEN))?;
        if head.starts_with(libvirt::MAGIC) {
            return self.image(layer);
        }
        if let Some(compression) = Compression::of(head) {
            return self.unpacked(compression, layer);
        }
        if compressed::skippable(head).is_some() {
            let compression = after_skippable(&mut layer.reader)?;
            return self.unpacked(compression, layer);
        }
        if self.naming == Naming::Foreign && !head.starts_with(&header::MAGIC.to_be_bytes()) {
            self.name(&mut layer)?;
        }
        let offset = layer.offset;
        self.opened(Container::Stream { offset }, layer)
    }

    /// The stream that comes next.
    fn opened(&self, container: Container, layer: Layer) -> Result<Opened, ContainerError> {
        let file_offset = layer.offset;
        let (stream, place): (Channel, Option<Arc<dyn ReadAt>>) = match layer.places {
            // A channel of its own can skip what is not wanted.
            Some((file, place)) => {
                let stream = channel::File::from_offset(file, file_offset)?;
                (Box::new(stream), Some(Arc::new(place)))
            }
            None => (Box::new(Prefixed::new(layer.reader.into_parts())), None),
        };
        Ok(Opened {
            container,
            stream,
            place,
            file_offset,
            beside: Vec::new(),
            findings: self.findings.clone(),
            mode: self.mode,
        })
    }

    fn unpacked(&self, compression: Compression, layer: Layer) -> Result<Opened, ContainerError> {
        let mut opened = self.decompressed(compression, layer.reader, layer.depth)?;
        opened.container = Container::Compressed {
            offset: layer.offset,
            compression,
            inner: Box::new(opened.container),
        };
        Ok(opened)
    }

    /// What is in compressed data at this depth.
    fn decompressed(
        &self,
        compression: Compression,
        reader: Reader<Channel>,
        depth: usize,
    ) -> Result<Opened, ContainerError> {
        if depth == LAYERS {
            return Err(ContainerError::Layers);
        }
        let channel = Decompressor::new(compression, reader, self.mode, &self.findings)?;
        self.layer(Layer {
            reader: Reader::new(Box::new(Std::new(channel)) as Channel),
            places: None,
            offset: 0,
            depth: depth + 1,
        })
    }

    fn image(&self, mut layer: Layer) -> Result<Opened, ContainerError> {
        let start = layer.reader.position();
        let decoded = libvirt::Image::decode_in(&mut layer.reader, self.mode)?;
        let libvirt::Decoded {
            header,
            image,
            damage,
        } = decoded;
        if header.written == libvirt::Written::Part {
            if self.mode == Mode::Strict {
                return Err(ContainerError::Incomplete);
            }
            self.findings.damage(Damage::new(INCOMPLETE));
        }
        if let Some(damage) = damage {
            self.findings.damage(Damage::new(damage.to_string()));
        }
        let len = layer.reader.position() - start;
        layer.offset = layer.offset.saturating_add(len);
        layer.places = layer.places.map(|(file, part)| (file, part.further(len)));
        let format = image.format;
        let container = Container::Libvirt(Box::new(image));
        match format {
            libvirt::Format::Compressed(compression) => {
                let mut opened = match self.decompressed(compression, layer.reader, layer.depth) {
                    // What there is of the image is described, although nothing of the stream is there.
                    Err(error) if self.mode == Mode::Rescue && error.is_damage() => {
                        self.findings.damage(Damage::new(error.to_string()));
                        let nothing = Std::new(io::empty());
                        let reader = Reader::new(Box::new(nothing) as Channel);
                        self.opened(container.clone(), Layer::within(reader))?
                    }
                    opened => opened?,
                };
                opened.container = container;
                Ok(opened)
            }
            libvirt::Format::Raw | libvirt::Format::Sparse => self.opened(container, layer),
        }
    }

    /// Refuses what is no stream, and says what it is, where that is known. What there is nothing of is no stream, but can be
    /// described, where it is a part of something.
    fn name(&self, layer: &mut Layer) -> Result<(), ContainerError> {
        let head = layer.reader.peek_up_to(foreign::HEAD)?;
        match Foreign::of(head) {
            // What was decompressed before the damage came, which is what counts.
            Some(_) if head.is_empty() && !self.findings.damages().is_empty() => Ok(()),
            Some(found) if layer.depth == 0 => Err(found.into()),
            Some(found) => Err(found.in_compressed().into()),
            None => {
                let begins = head.get(..BEGINS.min(head.len())).unwrap_or_default();
                let begins = begins.escape_ascii().to_string().into();
                Err(ContainerError::Unknown { begins })
            }
        }
    }
}

impl Layer {
    /// Something that is in something else.
    fn within(reader: Reader<Channel>) -> Self {
        Self {
            reader,
            places: None,
            offset: 0,
            depth: 1,
        }
    }
}

/// Passes over skippable frames, and tells how the first frame after them is compressed. Where there is none, zstd is:
/// its program takes that for nothing, compressed.
fn after_skippable(reader: &mut Reader<Channel>) -> Result<Compression, ContainerError> {
    const WHAT: &str = "a skippable frame";
    loop {
        let at = reader.position();
        let head = reader.peek_up_to(compressed::SKIPPABLE_HEAD)?;
        let Some(len) = compressed::skippable(head) else {
            return Ok(Compression::of(head).unwrap_or(Compression::Zstd));
        };
        let len = compressed::SKIPPABLE_HEAD as u64 + u64::from(len);
        match crate::wire::Source::skip(reader, len, WHAT) {
            Err(Error::Format(cut)) => return Err(FormatError { at, ..cut }.into()),
            result => result?,
        }
    }
}

fn snapshot(
    place: Part,
    length: u64,
    wanted: &Wanted,
    findings: Findings,
) -> Result<Opened, ContainerError> {
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
        findings,
        mode: wanted.mode,
    })
}
