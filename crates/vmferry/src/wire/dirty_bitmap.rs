//! Dirty bitmaps of block devices: which parts were written since a backup. Capability `dirty-bitmaps`.
//!
//! They travel in an iterable section of their own: `u32` and `u64` are big-endian, a sector has 512 bytes.
//!
//! ```text
//! section  = chunk*                          the last one is EOS
//! chunk    = u8 flags  [name of the node]  [name of the bitmap]  content
//! EOS 01     nothing
//! START 10   u32 granularity in bytes  u8 1 enabled, 2 persistent, 4 ignored
//! BITS 40    u64 first sector  u32 sectors   with ZEROES 02 nothing, else  u64 n  n bytes
//! COMPLETE 20  nothing
//! ```
//!
//! The flags DEVICE_NAME (08) and BITMAP_NAME (04) say which names are there; one that is not is that of the
//! chunk before.

use super::{FormatError, Sink, Source, limits};

/// The idstr of the section.
pub const IDSTR: &str = "dirty-bitmap";

/// The only version of the section.
pub const VERSION: u32 = 1;

const EOS: u8 = 0x01;
const ZEROES: u8 = 0x02;
const BITMAP_NAME: u8 = 0x04;
const DEVICE_NAME: u8 = 0x08;
const START: u8 = 0x10;
const COMPLETE: u8 = 0x20;
const BITS: u8 = 0x40;

const ENABLED: u8 = 0x01;
const PERSISTENT: u8 = 0x02;
const IGNORED: u8 = 0x04;

const WHAT: &str = "a chunk of a dirty bitmap";

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The block node's name (or its alias), where it is not that of the chunk before.
    pub node: Option<String>,
    /// The bitmap's name (or its alias), where it is not that of the chunk before.
    pub bitmap: Option<String>,
    /// What it says of this bitmap.
    pub content: Content,
}

/// What a chunk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// No more chunks in this piece of the section.
    Eos,
    /// Such a bitmap follows.
    Start(Properties),
    /// Some of its bits.
    Bits(Bits),
    /// All of its bits have come.
    Complete,
}

/// What a bitmap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// Bytes of the device that one bit stands for.
    pub granularity: u32,
    /// It was recording writes.
    pub enabled: bool,
    /// It is kept in the image file.
    pub persistent: bool,
    /// The destination reads over it.
    pub ignored: bool,
}

/// Bits of a bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits {
    /// The first sector that they stand for.
    pub first_sector: u64,
    /// How many sectors they stand for.
    pub sectors: u32,
    /// Bit `i % 8` of byte `i / 8` is that of piece `i`; `None` if none of them is set.
    pub bytes: Option<Vec<u8>>,
}

impl Chunk {
    /// Reads a chunk.
    ///
    /// # Errors
    /// The stream ends inside it, or its flags are not those of one chunk.
    pub fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        let at = source.position();
        let flags = source.u8(WHAT)?;
        let node = optional_name(source, flags & DEVICE_NAME != 0)?;
        let bitmap = optional_name(source, flags & BITMAP_NAME != 0)?;
        let content = match flags & !(BITMAP_NAME | DEVICE_NAME) {
            EOS => Content::Eos,
            START => Content::Start(Properties::decode(source)?),
            COMPLETE => Content::Complete,
            kind if kind & !ZEROES == BITS => Content::Bits(Bits::decode(source, kind)?),
            _ => {
                let expected = "one of EOS, START, BITS and COMPLETE";
                let found = format!("flags {flags:02x}");
                return Err(FormatError::unexpected(at, WHAT, expected, found).into());
            }
        };
        Ok(Self {
            node,
            bitmap,
            content,
        })
    }

    /// Writes it.
    pub fn encode(&self, sink: &mut impl Sink) {
        let kind = match &self.content {
            Content::Eos => EOS,
            Content::Start(_) => START,
            Content::Bits(Bits { bytes: None, .. }) => BITS | ZEROES,
            Content::Bits(_) => BITS,
            Content::Complete => COMPLETE,
        };
        let node = self.node.as_ref().map_or(0, |_| DEVICE_NAME);
        let bitmap = self.bitmap.as_ref().map_or(0, |_| BITMAP_NAME);
        sink.put(&[kind | node | bitmap]);
        for name in [&self.node, &self.bitmap].into_iter().flatten() {
            sink.put_name(name);
        }
        match &self.content {
            Content::Eos | Content::Complete => {}
            Content::Start(properties) => properties.encode(sink),
            Content::Bits(bits) => bits.encode(sink),
        }
    }
}

impl Properties {
    fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        let granularity = source.be32(WHAT)?;
        let at = source.position();
        let flags = source.u8(WHAT)?;
        if flags & !(ENABLED | PERSISTENT | IGNORED) != 0 {
            let expected = "flags of a bitmap up to 7";
            let found = format!("{flags:02x}");
            return Err(FormatError::unexpected(at, WHAT, expected, found).into());
        }
        Ok(Self {
            granularity,
            enabled: flags & ENABLED != 0,
            persistent: flags & PERSISTENT != 0,
            ignored: flags & IGNORED != 0,
        })
    }

    fn encode(self, sink: &mut impl Sink) {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(self.enabled, ENABLED)
            | flag(self.persistent, PERSISTENT)
            | flag(self.ignored, IGNORED);
        sink.put(&self.granularity.to_be_bytes());
        sink.put(&[flags]);
    }
}

impl Bits {
    fn decode<S: Source>(source: &mut S, flags: u8) -> Result<Self, S::Error> {
        let first_sector = source.be64(WHAT)?;
        let sectors = source.be32(WHAT)?;
        let bytes = if flags & ZEROES == 0 {
            let at = source.position();
            let len = source.be64(WHAT)?;
            let limit = limits::DIRTY_BITMAP_CHUNK;
            let Some(len) = usize::try_from(len).ok().filter(|len| *len <= limit) else {
                return Err(FormatError::too_long(at, WHAT, len, limit as u64).into());
            };
            Some(source.take(len, WHAT)?.to_vec())
        } else {
            None
        };
        Ok(Self {
            first_sector,
            sectors,
            bytes,
        })
    }

    fn encode(&self, sink: &mut impl Sink) {
        sink.put(&self.first_sector.to_be_bytes());
        sink.put(&self.sectors.to_be_bytes());
        if let Some(bytes) = &self.bytes {
            sink.put(&(bytes.len() as u64).to_be_bytes());
            sink.put(bytes);
        }
    }
}

fn optional_name<S: Source>(source: &mut S, is_there: bool) -> Result<Option<String>, S::Error> {
    if !is_there {
        return Ok(None);
    }
    let name = source.name("a name in a chunk of a dirty bitmap")?;
    Ok(Some(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    /// What QEMU 10.0.2 and 7.2.22 both send of a disk of 256 MiB of which 128 KiB at 1 MiB were written: first
    /// what there is, then the bits.
    const START: &[u8] = b"\x1c\x02n0\x03bm1\0\x01\0\0\0\x14\x03bm0\0\x01\0\0\x01\x01";

    fn end() -> Vec<u8> {
        let mut bytes = b"\x46\x03bm1\0\0\0\0\0\0\0\0\0\x08\0\0\
            \x44\x03bm0\0\0\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\x02\0\0\0\x03"
            .to_vec();
        bytes.resize(bytes.len() + 509, 0);
        bytes.put(b"\x24\x03bm1\x24\x03bm0\x01");
        bytes
    }

    fn chunks(bytes: &[u8]) -> Result<Vec<Chunk>, FormatError> {
        let mut source = SliceSource::new(bytes);
        let mut chunks = Vec::new();
        while chunks
            .last()
            .is_none_or(|chunk: &Chunk| chunk.content != Content::Eos)
        {
            chunks.push(Chunk::decode(&mut source)?);
        }
        assert_eq!(source.rest(), b"");
        Ok(chunks)
    }

    #[test]
    fn the_chunks_of_qemu_are_read_and_written_back() {
        for (bytes, count) in [(START, 3), (&end(), 5)] {
            let chunks = chunks(bytes).unwrap();
            assert_eq!(chunks.len(), count);
            let mut again = Vec::new();
            chunks.iter().for_each(|chunk| chunk.encode(&mut again));
            assert_eq!(again, bytes);
        }
        let start = chunks(START).unwrap();
        assert_eq!(start[0].node.as_deref(), Some("n0"));
        assert_eq!(
            (start[1].node.as_deref(), start[1].bitmap.as_deref()),
            (None, Some("bm0"))
        );
        let properties = Properties {
            granularity: 64 << 10,
            enabled: true,
            persistent: false,
            ignored: false,
        };
        assert_eq!(start[1].content, Content::Start(properties));
        let end = chunks(&end()).unwrap();
        let Content::Bits(bits) = &end[1].content else {
            panic!("{:?}", end[1]);
        };
        // Pieces 16 and 17 of 64 KiB: the 128 KiB at 1 MiB.
        let bytes = bits.bytes.as_deref().unwrap();
        assert_eq!((bytes.len(), &bytes[..4]), (512, &b"\0\0\x03\0"[..]));
        assert_eq!((bits.first_sector, bits.sectors), (0, 0x8_0000));
    }

    #[test]
    fn a_section_that_is_cut_anywhere_is_an_error() {
        for bytes in [START, &end()] {
            for end in 0..bytes.len() {
                let error = chunks(&bytes[..end]).unwrap_err().to_string();
                assert!(error.contains("ends inside"), "{end}: {error}");
            }
        }
    }

    #[test]
    fn other_flags_and_long_chunks_are_refused() {
        let error = |bytes: &[u8]| chunks(bytes).unwrap_err().to_string();
        for flags in [b"\0", b"\x11", b"\x80", b"\x02", b"\x12", b"\x50"] {
            assert!(error(flags).contains("one of EOS, START"), "{flags:?}");
        }
        assert!(error(b"\x10\0\x01\0\0\x08").contains("found 08"));
        let long = b"\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x28\x01";
        assert!(
            error(long).contains("the limit is 10240"),
            "{}",
            error(long)
        );
    }
}
