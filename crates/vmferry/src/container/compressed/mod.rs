//! Compressed streams, as people keep them and as libvirt has them in its images.
//!
//! One rule holds for all codecs: a file is sound where the codec's own program says so, and gives the same bytes; what
//! that program passes over with a warning is a note; everything else is [`Damage`](crate::error::Damage), at an offset
//! of the decompressed data.
//!
//! | codec | members | after the last member |
//! |---|---|---|
//! | gzip | one after the other | zeros are nothing; other bytes are passed over, with a note; a single one is damage |
//! | bzip2 | one after the other | all bytes are passed over, with a note |
//! | xz | one after the other, with zeros between them | zeros, a multiple of 4; anything else is damage |
//! | .lzma, which `xz` reads, too | one | anything is damage |
//! | lzop | by the program `lzop` itself | what it warns of is a note |
//! | zstd, also of 0.5 to 0.7 | one after the other, skippable ones among them | anything is damage |
//! | lz4, also its legacy frames | the same | anything is damage |

mod decode;
mod decompressor;
mod encode;
mod input;
mod lz4;
mod lzop;
mod members;

use std::fmt;

pub(super) use decompressor::Decompressor;
pub use encode::Compressor;

/// A way of compressing a whole stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// As `gzip` writes it.
    Gzip,
    /// As `bzip2` writes it.
    Bzip2,
    /// As `xz` writes it, also in its old format (`.lzma`).
    Xz,
    /// As `lzop` writes it: read and written by that program.
    Lzop,
    /// As `zstd` writes it.
    Zstd,
    /// As `lz4` writes it, also with `-l`.
    Lz4,
}

/// What compressed streams begin with.
const MAGICS: [(Compression, &[u8]); 10] = [
    (Compression::Gzip, b"\x1f\x8b"),
    (Compression::Bzip2, b"BZh"),
    (Compression::Xz, b"\xfd7zXZ\0"),
    (Compression::Lzop, b"\x89LZO\0\r\n\x1a\n"),
    (Compression::Zstd, b"\x28\xb5\x2f\xfd"),
    // zstd 0.7, 0.6, 0.5: what its program still reads of what came before 0.8.
    (Compression::Zstd, b"\x27\xb5\x2f\xfd"),
    (Compression::Zstd, b"\x26\xb5\x2f\xfd"),
    (Compression::Zstd, b"\x25\xb5\x2f\xfd"),
    (Compression::Lz4, &lz4::FRAME),
    (Compression::Lz4, &lz4::LEGACY),
];

/// How often something may be compressed. Twice is a mistake that happens; more would be made to keep us busy, because
/// each layer can be a thousand times as large as the one around it.
pub(super) const LAYERS: usize = 2;

/// Bytes that tell.
pub(super) const MAGIC_LEN: usize = members::LZMA_HEADER;

impl Compression {
    /// How something is compressed that begins with `head`.
    pub fn of(head: &[u8]) -> Option<Self> {
        let mut known = MAGICS.iter();
        let found = known.find(|(_, magic)| head.starts_with(magic));
        let lzma = members::begins_lzma(head).then_some(Self::Xz);
        found.map(|(compression, _)| *compression).or(lzma)
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

/// The length of what follows the 8 bytes of a skippable frame, where `head` begins with one. zstd and lz4 have the same
/// ones, which hold what is for other programs.
pub(super) fn skippable(head: &[u8]) -> Option<u32> {
    let (magic, rest) = head.split_first_chunk::<4>()?;
    let len = rest.first_chunk::<4>()?;
    (u32::from_le_bytes(*magic) & !0xf == 0x184d_2a50).then(|| u32::from_le_bytes(*len))
}

/// Bytes of a skippable frame before its content.
pub(super) const SKIPPABLE_HEAD: usize = 8;
