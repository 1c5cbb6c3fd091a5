//! Writing a libvirt save image.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::{Format, Image, LEN, Written};
use crate::channel;
use crate::container::Compressor;
use crate::machine::MachineState;
use crate::progress::Progress;
use crate::ram::PageSource;
use crate::save::{SaveError, mapped_ram_at, precopy};
use crate::stream::Writer;

/// Why an image could not be written to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError<P> {
    /// Its stream could not be written.
    #[error(transparent)]
    Stream(#[from] SaveError<P>),
    /// The file could not be written.
    #[error("the libvirt save image could not be written")]
    File(#[from] io::Error),
    /// What comes before the stream is more than libvirt would read.
    #[error("the domain's XML has {0} bytes, which is more than libvirt reads")]
    TooLong(usize),
}

/// Writes a machine as a libvirt save image, which `virsh restore` takes. `file` is empty. Until all of it
/// is there, it says that it is not whole. `progress` is told the number of pages written since it was
/// last called.
///
/// # Errors
/// The machine cannot be read, or the image not be written.
pub fn write<P: PageSource>(
    file: &File,
    image: &Image,
    state: &MachineState,
    source: &P,
    progress: &Progress,
) -> Result<(), WriteError<P::Error>> {
    let too_long = || WriteError::TooLong(image.xml.len());
    let head = image.encode(Written::Part).ok_or_else(too_long)?;
    file.write_all_at(&head, 0)?;
    let base = head.len() as u64;
    let mut stream = file.try_clone()?;
    stream.seek(SeekFrom::Start(base))?;
    match image.format {
        Format::Raw => {
            let mut writer = Writer::new(channel::File::from_offset(stream, base)?);
            precopy(&mut writer, state, source, progress)?;
            writer.close().map_err(io::Error::other)?;
        }
        Format::Sparse => {
            let mut writer = Writer::new(channel::File::from_offset(stream, base)?);
            mapped_ram_at(&mut writer, base, state, source, progress)?;
            writer.close().map_err(io::Error::other)?;
        }
        Format::Compressed(compression) => {
            let mut writer = Writer::new(Compressor::new(compression, stream)?);
            precopy(&mut writer, state, source, progress)?;
            writer.close().map_err(io::Error::other)?;
        }
    }
    let whole = image.encode(Written::Whole).ok_or_else(too_long)?;
    // The stream is on disk before the image says that it is.
    file.sync_data()?;
    file.write_all_at(whole.get(..LEN).unwrap_or_default(), 0)?;
    Ok(())
}
