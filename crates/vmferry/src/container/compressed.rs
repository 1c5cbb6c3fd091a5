//! Compressed streams, as people keep them and as libvirt has them in its images.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::process::{Command, Stdio};

use lzma_rust2::{XzOptions, XzReader, XzWriter};

use crate::channel::{
    Duplex, Exec, ExecReader, ExecWriter, ReadChannel, Segment, Std, WriteChannel,
};

/// Memory for the dictionary of an xz stream, in KiB: that of `xz -9` is 64 MiB.
const XZ_MEMORY_KIB: u32 = 256 << 10;

/// Binary logarithm of the window of a zstd stream: that of `zstd --ultra -22` is 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A way of compressing a whole stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// As `gzip` writes it.
    Gzip,
    /// As `bzip2` writes it.
    Bzip2,
    /// As `xz` writes it.
    Xz,
    /// As `lzop` writes it: read and written by that program.
    Lzop,
    /// As `zstd` writes it.
    Zstd,
    /// As `lz4` writes it.
    Lz4,
}

/// What compressed streams begin with.
const MAGICS: [(Compression, &[u8]); 6] = [
    (Compression::Gzip, b"\x1f\x8b"),
    (Compression::Bzip2, b"BZh"),
    (Compression::Xz, b"\xfd7zXZ\0"),
    (Compression::Lzop, b"\x89LZO\0\r\n\x1a\n"),
    (Compression::Zstd, b"\x28\xb5\x2f\xfd"),
    (Compression::Lz4, b"\x04\x22\x4d\x18"),
];

/// Bytes that tell.
pub(super) const MAGIC_LEN: usize = 9;

impl Compression {
    /// How something is compressed that begins with `head`.
    pub fn of(head: &[u8]) -> Option<Self> {
        let mut known = MAGICS.iter();
        let found = known.find(|(_, magic)| head.starts_with(magic))?;
        Some(found.0)
    }

    /// The name of the program for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lzop => "lzop",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What `compressed` gives when it is decompressed.
pub(super) fn decompress(
    compression: Compression,
    compressed: impl BufRead + Send + 'static,
) -> io::Result<Box<dyn ReadChannel + Send>> {
    let decoder: Box<dyn Read + Send> = match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(compressed)),
        Compression::Xz => Box::new(XzReader::new_mem_limit(compressed, true, XZ_MEMORY_KIB)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(compressed)),
        Compression::Lzop => return Ok(Box::new(through_lzop(compressed)?)),
    };
    Ok(Box::new(Std::new(decoder)))
}

fn lzop(option: &str) -> Command {
    let mut command = Command::new("lzop");
    command.arg(option).stderr(Stdio::null());
    command
}

fn needs_lzop(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::NotFound,
            "the program 'lzop' is needed for this: install it (Debian: apt-get install lzop)",
        ),
        _ => error,
    }
}

/// The output of `lzop`, to which a thread feeds what is compressed. The thread ends with `lzop`, which
/// ends when nobody reads it.
fn through_lzop(mut compressed: impl BufRead + Send + 'static) -> io::Result<ExecReader> {
    let (reader, mut writer) = Exec::filter(lzop("-dc")).map_err(needs_lzop)?.split();
    std::thread::Builder::new()
        .name("lzop".into())
        .spawn(move || {
            // Where the input fails, lzop sees it end too early, and fails in its turn.
            while let Ok(bytes @ [_, ..]) = compressed.fill_buf() {
                match writer.write_segments(&[Segment::new(bytes)]) {
                    Ok(written) => compressed.consume(written),
                    Err(_) => return,
                }
            }
        })?;
    Ok(reader)
}

/// Compresses what is written into a file, from where it stands. Only [`close`](WriteChannel::close) makes
/// it whole.
pub struct Compressor {
    encoder: Std<Encoder>,
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
                let mut command = lzop("-c");
                command.stdout(Stdio::from(file));
                Encoder::Lzop(Exec::writer(command).map_err(needs_lzop)?)
            }
        };
        Ok(Self {
            encoder: Std::new(encoder),
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
        self.encoder.write_segments(segments)
    }

    fn close(self) -> io::Result<()> {
        match self.encoder.into_inner() {
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
            Encoder::Lzop(child) => child.close(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Reader, Writer};

    fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        let channel = Compressor::new(compression, file.try_clone().unwrap()).unwrap();
        let mut writer = Writer::new(channel);
        writer.put_bytes(bytes);
        writer.close().unwrap();
        let mut out = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut out).unwrap();
        out
    }

    fn all() -> impl Iterator<Item = Compression> {
        MAGICS.into_iter().map(|(compression, _)| compression)
    }

    #[test]
    fn what_was_compressed_is_recognised_and_comes_back() {
        let bytes: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| (n / 7).to_be_bytes())
            .collect();
        for compression in all() {
            let compressed = compressed(compression, &bytes);
            assert!(compressed.len() < bytes.len());
            assert_eq!(Compression::of(&compressed), Some(compression));
            let channel = decompress(compression, io::Cursor::new(compressed)).unwrap();
            let mut back = vec![0; bytes.len()];
            let mut reader = Reader::new(channel);
            reader.get_into(&mut back).unwrap();
            assert!(reader.at_end().unwrap(), "{compression}");
            assert_eq!(back, bytes, "{compression}");
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_does_not_pass_for_the_whole() {
        let bytes = b"a stream that is somewhat longer than nothing".repeat(100);
        for compression in all() {
            let whole = compressed(compression, &bytes);
            for len in (0..whole.len()).step_by(7) {
                let cut = io::Cursor::new(whole[..len].to_vec());
                // Some notice at once.
                let Ok(channel) = decompress(compression, cut) else {
                    continue;
                };
                let mut back = vec![0; bytes.len()];
                let read = Reader::new(channel).get_into(&mut back);
                assert!(read.is_err() || back == bytes, "{compression} {len}");
            }
        }
    }
}
