//! Decompressing: the rule for the end, and for what is damaged.

use std::io::{self, BufRead, Read};

use super::Compression;
use super::decode::Decode;
use super::input::Input;
use super::lz4::Lz4;
use super::lzop::Lzop;
use super::members::Members;
use crate::container::Findings;
use crate::error::Damage;
use crate::load::Mode;

/// Binary logarithm of the window of a zstd stream: that of `zstd --ultra -22` is 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Compressed data, decompressed.
///
/// What is wrong with the data is an error with [`Damage`] in it; or, in rescue mode, the end, and a finding. Errors in
/// reading the data come through as they are.
pub(in crate::container) struct Decompressor {
    compression: Compression,
    decode: Box<dyn Decode>,
    mode: Mode,
    findings: Findings,
    /// Bytes that were given.
    position: u64,
    end: Option<Result<(), Damage>>,
}

impl Decompressor {
    pub(in crate::container) fn new(
        compression: Compression,
        compressed: impl BufRead + Send + 'static,
        mode: Mode,
        findings: &Findings,
    ) -> io::Result<Self> {
        findings.set_compressed();
        let input = Input::new(compressed);
        let decode: Box<dyn Decode> = match compression {
            Compression::Gzip => Box::new(Members::gzip(input, findings.clone())),
            Compression::Bzip2 => Box::new(Members::bzip2(input, findings.clone())),
            Compression::Xz => Box::new(Members::xz(input, findings.clone())?),
            Compression::Zstd => Box::new(Zstd::new(input)?),
            Compression::Lz4 => Box::new(Lz4::new(input)),
            Compression::Lzop => Box::new(Lzop::new(input, findings.clone())?),
        };
        Ok(Self {
            compression,
            decode,
            mode,
            findings: findings.clone(),
            position: 0,
            end: None,
        })
    }

    fn damage(&self, error: &io::Error) -> Damage {
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends early".to_owned(),
            _ => error.to_string(),
        };
        Damage::in_decompressed(self.compression.name(), self.position, &reason)
    }

    fn at_end(&self) -> io::Result<usize> {
        match &self.end {
            Some(Err(damage)) if self.mode == Mode::Strict => {
                Err(io::Error::new(io::ErrorKind::InvalidData, damage.clone()))
            }
            _ => Ok(0),
        }
    }
}

impl Read for Decompressor {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if room.is_empty() {
            return Ok(0);
        }
        if self.end.is_some() {
            return self.at_end();
        }
        match self.decode.read(room) {
            Ok(0) => self.end = Some(Ok(())),
            Ok(read) => {
                self.position += read as u64;
                return Ok(read);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) if self.decode.take_failure() => return Err(error),
            Err(error) => {
                let damage = self.damage(&error);
                self.findings.damage(damage.clone());
                self.end = Some(Err(damage));
            }
        }
        self.at_end()
    }
}

/// zstd's library knows all its frames, and what may follow them.
struct Zstd(zstd::stream::read::Decoder<'static, Input>);

impl Zstd {
    fn new(input: Input) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Ok(Self(decoder))
    }
}

impl Decode for Zstd {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }

    fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.0.get_mut().has_failed)
    }
}
