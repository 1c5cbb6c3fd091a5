//! The first 92 bytes of a libvirt save image.
//!
//! ```text
//!  0  16  magic: LibvirtQemudSave, or LibvirtQemudPart while it is not whole
//! 16   4  version: 1 or 2
//! 20   4  bytes of the data area behind the header: XML, cookie, padding
//! 24   4  1: the domain was running
//! 28   4  format of the stream behind the data area (version 2)
//! 32   4  where in the data area the cookie begins; 0: there is none
//! 36  56  nothing
//! ```
//!
//! Numbers are in the byte order of the host that wrote them; the version tells which.

use std::fmt;

use super::DATA;
use crate::container::Compression;
use crate::error::FormatError;

/// Bytes of a header.
pub const LEN: usize = 92;

/// What an image begins with, before the word that says whether it is whole.
pub const MAGIC: &[u8; 12] = b"LibvirtQemud";

const WHOLE: &[u8; 4] = b"Save";
const PART: &[u8; 4] = b"Part";

/// The newest version that there is.
const NEWEST: u32 = 2;

/// In which form the stream is in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// As it is.
    #[default]
    Raw,
    /// Compressed: by gzip, bzip2, xz, lzop or zstd.
    Compressed(Compression),
    /// A mapped-ram stream (libvirt 11.2 and later).
    Sparse,
}

impl Format {
    /// All that there are, by their numbers.
    const ALL: [Self; 7] = [
        Self::Raw,
        Self::Compressed(Compression::Gzip),
        Self::Compressed(Compression::Bzip2),
        Self::Compressed(Compression::Xz),
        Self::Compressed(Compression::Lzop),
        Self::Compressed(Compression::Zstd),
        Self::Sparse,
    ];

    /// Its name in libvirt's `save_image_format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Compressed(compression) => compression.name(),
            Self::Sparse => "sparse",
        }
    }

    /// The format with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    fn number(self) -> Option<u32> {
        let at = Self::ALL.iter().position(|format| *format == self)?;
        u32::try_from(at).ok()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether an image was written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// It was.
    Whole,
    /// It was not, or is being written just now.
    Part,
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether the image is whole.
    pub written: Written,
    /// 1 or 2.
    pub version: u32,
    /// Bytes of the data area.
    pub data_len: u32,
    /// Whether the domain was running, and is to go on.
    pub was_running: bool,
    /// In which form the stream is.
    pub format: Format,
    /// Where in the data area the cookie begins.
    pub cookie_offset: Option<u32>,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// It is none, or of an unknown version or format.
    pub fn decode(bytes: &[u8; LEN]) -> Result<Self, FormatError> {
        const WHAT: &str = "a libvirt save image";
        let (magic, rest) = bytes.split_at(MAGIC.len());
        let written = match rest.first_chunk() {
            Some(WHOLE) if magic == MAGIC => Written::Whole,
            Some(PART) if magic == MAGIC => Written::Part,
            _ => {
                let expected = "LibvirtQemudSave or LibvirtQemudPart";
                let found = bytes.get(..16).unwrap_or_default().escape_ascii();
                return Err(FormatError::unexpected(0, WHAT, expected, found));
            }
        };
        let field = |at: usize, decode: fn([u8; 4]) -> u32| {
            let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| decode(*bytes))
        };
        let mut decode: fn([u8; 4]) -> u32 = u32::from_le_bytes;
        if field(16, decode) > NEWEST {
            decode = u32::from_be_bytes;
        }
        let version = field(16, decode);
        if !(1..=NEWEST).contains(&version) {
            let found = field(16, u32::from_le_bytes);
            return Err(FormatError::unexpected(16, "its version", "1 or 2", found));
        }
        let data_len = field(20, decode);
        if data_len == 0 {
            let what = "the length of its data area";
            return Err(FormatError::unexpected(20, what, "more than 0", data_len));
        }
        if data_len > DATA {
            let what = "the data area of a libvirt save image";
            let (len, limit) = (u64::from(data_len), u64::from(DATA));
            return Err(FormatError::too_long(20, what, len, limit));
        }
        // Older ones left these as they happened to be.
        let format = if version == 1 { 0 } else { field(28, decode) };
        let known = usize::try_from(format)
            .ok()
            .and_then(|at| Format::ALL.get(at));
        let format = known
            .copied()
            .ok_or_else(|| FormatError::unexpected(28, "its format", "one of 0 to 6", format))?;
        let cookie_offset = if version == 1 { 0 } else { field(32, decode) };
        if cookie_offset >= data_len {
            let expected = format!("one below its length of {data_len}");
            let what = "the offset of the cookie in the data area";
            return Err(FormatError::unexpected(32, what, expected, cookie_offset));
        }
        Ok(Self {
            written,
            version,
            data_len,
            was_running: field(24, decode) != 0,
            format,
            cookie_offset: (cookie_offset > 0).then_some(cookie_offset),
        })
    }

    /// Writes a header, as a host of little-endian byte order does; `None` for a format that libvirt does
    /// not have.
    pub fn encode(&self) -> Option<[u8; LEN]> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(match self.written {
            Written::Whole => WHOLE,
            Written::Part => PART,
        });
        for number in [
            self.version,
            self.data_len,
            u32::from(self.was_running),
            self.format.number()?,
            self.cookie_offset.unwrap_or(0),
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(LEN, 0);
        bytes.first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            written: Written::Whole,
            version: 2,
            data_len: 70_000,
            was_running: true,
            format: Format::Compressed(Compression::Zstd),
            cookie_offset: Some(3000),
        }
    }

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        for written in [Written::Whole, Written::Part] {
            for format in Format::ALL {
                let header = Header {
                    written,
                    format,
                    ..header()
                };
                assert_eq!(Header::decode(&header.encode().unwrap()), Ok(header));
                assert_eq!(Format::from_name(format.name()), Some(format));
            }
        }
    }

    #[test]
    fn a_header_of_a_host_of_the_other_byte_order_is_read() {
        let mut bytes = header().encode().unwrap();
        for number in bytes[16..36].chunks_mut(4) {
            number.reverse();
        }
        assert_eq!(Header::decode(&bytes), Ok(header()));
    }

    #[test]
    fn version_1_is_always_raw_and_has_no_cookie() {
        let mut bytes = header().encode().unwrap();
        bytes[16] = 1;
        let header = Header::decode(&bytes).unwrap();
        assert_eq!((header.format, header.cookie_offset), (Format::Raw, None));
    }

    #[test]
    fn a_header_that_is_wrong_says_what_is_wrong_and_where() {
        let wrong = |at: usize, value: u8| {
            let mut bytes = header().encode().unwrap();
            bytes[at] = value;
            Header::decode(&bytes).unwrap_err().to_string()
        };
        assert_eq!(
            wrong(15, b'!'),
            "a libvirt save image: expected LibvirtQemudSave or LibvirtQemudPart, found LibvirtQemudSav!, at offset 0x0"
        );
        assert_eq!(
            wrong(16, 3),
            "its version: expected 1 or 2, found 3, at offset 0x10"
        );
        assert_eq!(
            wrong(23, 1),
            "the data area of a libvirt save image has a length of 16847216, the limit is 16777216, at offset 0x14"
        );
        assert_eq!(
            wrong(28, 7),
            "its format: expected one of 0 to 6, found 7, at offset 0x1c"
        );
        assert_eq!(
            wrong(34, 7),
            "the offset of the cookie in the data area: expected one below its length of 70000, found 461752, at offset 0x20"
        );
    }
}
