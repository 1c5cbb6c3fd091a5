//! Compressing a whole stream.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::Stdio;

use lzma_rust2::{XzOptions, XzWriter};

use super::{Compression, lzop};
use crate::channel::{Exec, ExecWriter, Segment, Std, WriteChannel};

/// Compresses what is written into a file, from where it stands. Only [`close`](WriteChannel::close) makes
/// it whole.
pub struct Compressor {
    /// None once it has been closed.
    encoder: Option<Std<Encoder>>,
}

enum Encoder {
    Gzip(flate2::write::GzEncoder<File>),
    Bzip2(bzip2::write::BzEncoder<File>),
    Xz(Box<XzWriter<BufWriter<File>>>),
    Zstd(zstd::stream::write::Encoder<'static, File>),
    Lz4(Box<lz4_flex::frame::FrameEncoder<File>>),
    Lzop(ExecWriter),
}

impl Compressor {
    /// Compresses into `file`, with the level at which libvirt runs the program.
    ///
    /// # Errors
    /// The program that it takes is not there.
    pub fn new(compression: Compression, file: File) -> io::Result<Self> {
        let encoder = match compression {
            Compression::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(
                file,
                flate2::Compression::new(6),
            )),
            Compression::Bzip2 => Encoder::Bzip2(bzip2::write::BzEncoder::new(
                file,
                bzip2::Compression::best(),
            )),
            Compression::Xz => {
                let writer = XzWriter::new(BufWriter::new(file), XzOptions::with_preset(3))?;
                Encoder::Xz(Box::new(writer))
            }
            Compression::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(file, 3)?),
            Compression::Lz4 => Encoder::Lz4(Box::new(lz4_flex::frame::FrameEncoder::new(file))),
            Compression::Lzop => {
                let mut command = lzop::command("-c");
                command.stdout(Stdio::from(file));
                Encoder::Lzop(Exec::writer(command).map_err(lzop::needs_lzop)?)
            }
        };
        Ok(Self {
            encoder: Some(Std::new(encoder)),
        })
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Bzip2(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Lz4(encoder) => encoder.write(bytes),
            Self::Lzop(child) => child.write_segments(&[Segment::new(bytes)]),
        }
    }

    /// Only its end makes it whole: to flush before would cost room.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriteChannel for Compressor {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let encoder = self.encoder.as_mut();
        encoder
            .ok_or(io::ErrorKind::BrokenPipe)?
            .write_segments(segments)
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(encoder) = self.encoder.take() else {
            return Ok(());
        };
        match encoder.into_inner() {
            Encoder::Gzip(encoder) => encoder.finish().map(drop),
            Encoder::Bzip2(encoder) => encoder.finish().map(drop),
            Encoder::Xz(encoder) => {
                let file = encoder.finish()?;
                file.into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .map(drop)
            }
            Encoder::Zstd(encoder) => encoder.finish().map(drop),
            Encoder::Lz4(encoder) => encoder.finish().map(drop).map_err(io::Error::other),
            Encoder::Lzop(mut child) => child.close(),
        }
    }
}
