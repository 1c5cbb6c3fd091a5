//! RAM at fixed places of a file: capability `mapped-ram`, QEMU 9.0 on.
//!
//! The block list carries each block's pages with it. All offsets are those of the file, also where the
//! stream begins further on in it.
//!
//! ```text
//! MEM_SIZE word
//! block     counted idstr  u64 used length  [u64 address]
//! header    u32 version 1  u64 page size  u64 offset of the bitmap  u64 offset of the pages
//! bitmap    bit i: page i is in the file       at its offset
//! pages     used length, with holes            at their offset; the next block right behind
//! EOS
//! ```
//!
//! The bitmap alone decides: where its bit is clear, a page is zeros, whatever the file holds there.

use super::{FormatError, Sink, Source, limits};
use crate::ram::PageSize;

/// The version of the header.
#[doc(alias = "MAPPED_RAM_HDR_VERSION")]
pub const VERSION: u32 = 1;

/// Bytes of the header.
pub const LEN: usize = 28;

/// Where QEMU begins the pages of a block: at the next multiple of this behind its bitmap. Any
/// multiple of the page size is read.
#[doc(alias = "MAPPED_RAM_FILE_OFFSET_ALIGNMENT")]
pub const ALIGNMENT: u64 = 1 << 20;

/// Where the bitmap and the pages of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "MappedRamHeader")]
pub struct Header {
    /// Offset of the bitmap in the file, in bytes.
    pub bitmap: u64,
    /// Offset of the pages in the file, in bytes.
    pub pages: u64,
}

impl Header {
    /// Reads the header of a block with pages of this size.
    ///
    /// # Errors
    /// It is not what QEMU takes, or the stream ends.
    pub fn decode<S: Source>(source: &mut S, page_size: PageSize) -> Result<Self, S::Error> {
        const WHAT: &str = "the header of a mapped-ram block";
        let at = source.position();
        let version = source.be32(WHAT)?;
        if version > VERSION {
            return Err(FormatError::unexpected(at, WHAT, "version 1", version).into());
        }
        let at = source.position();
        let bytes = source.be64(WHAT)?;
        if bytes != page_size.bytes() as u64 {
            let found = format!("{bytes} bytes");
            return Err(
                FormatError::unexpected(at, WHAT, format!("pages of {page_size}"), found).into(),
            );
        }
        let bitmap = source.be64(WHAT)?;
        let at = source.position();
        let pages = source.be64(WHAT)?;
        if pages & page_size.mask() != 0 {
            let found = format!("pages at {pages:#x}");
            return Err(
                FormatError::unexpected(at, WHAT, "pages on a page boundary", found).into(),
            );
        }
        Ok(Self { bitmap, pages })
    }

    /// Writes it.
    pub fn encode(&self, page_size: PageSize, sink: &mut impl Sink) {
        sink.put(&VERSION.to_be_bytes());
        sink.put(&(page_size.bytes() as u64).to_be_bytes());
        sink.put(&self.bitmap.to_be_bytes());
        sink.put(&self.pages.to_be_bytes());
    }
}

/// How a host lays out the words of its bitmaps.
///
/// Only [`BitmapWords::Little`] was seen in a file; the others are what QEMU's documentation of the format
/// implies for hosts that we do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BitmapWords {
    /// With the low byte first, 64 bits each: x86-64, arm64, and most others.
    #[default]
    Little,
    /// With the high byte first, 64 bits each: s390x.
    Big,
    /// With the low byte first, 32 bits each: hosts of 32 bits.
    Little32,
    /// With the high byte first, 32 bits each.
    Big32,
}

impl BitmapWords {
    const fn bytes(self) -> usize {
        match self {
            Self::Little | Self::Big => 8,
            Self::Little32 | Self::Big32 => 4,
        }
    }

    const fn is_big(self) -> bool {
        matches!(self, Self::Big | Self::Big32)
    }
}

/// Which pages of a block are in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bitmap {
    bytes: Vec<u8>,
}

impl Bitmap {
    /// Bytes of the bitmap of so many pages: whole 64-bit words.
    pub const fn len_of(pages: u64) -> u64 {
        pages.div_ceil(64).saturating_mul(8)
    }

    /// One without any of `pages` pages.
    ///
    /// # Errors
    /// It would be longer than [`limits::MAPPED_BITMAP`].
    pub fn new(pages: u64, at: u64) -> Result<Self, FormatError> {
        let bytes = vec![0; Self::checked_len(pages, at)?];
        Ok(Self { bytes })
    }

    /// Reads that of a block of `pages` pages. Bits behind the last of them mean nothing, and are cleared.
    ///
    /// # Errors
    /// The stream ends, or it is longer than [`limits::MAPPED_BITMAP`].
    pub fn decode<S: Source>(
        source: &mut S,
        pages: u64,
        words: BitmapWords,
    ) -> Result<Self, S::Error> {
        let all = Self::checked_len(pages, source.position())?;
        // Half a word less, where that is enough.
        let words_of_32 = pages.div_ceil(32).saturating_mul(4);
        let mut left = match words.bytes() {
            4 => usize::try_from(words_of_32).map_or(all, |len| len.min(all)),
            _ => all,
        };
        // No more room than there are bytes.
        let mut bytes = Vec::new();
        while left > 0 {
            let piece = source.take(left.min(limits::TAKE), "the bitmap of a mapped-ram block")?;
            bytes.extend_from_slice(piece);
            left = left.saturating_sub(piece.len());
        }
        if words.is_big() {
            bytes
                .chunks_exact_mut(words.bytes())
                .for_each(<[u8]>::reverse);
        }
        bytes.resize(all, 0);
        let last = usize::try_from(pages / 8)
            .ok()
            .and_then(|at| bytes.get_mut(at..)?.split_first_mut());
        if let Some((byte, behind)) = last {
            *byte &= !(u8::MAX << (pages % 8));
            behind.fill(0);
        }
        Ok(Self { bytes })
    }

    /// Whether no page is in the file.
    pub fn is_clear(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }

    fn checked_len(pages: u64, at: u64) -> Result<usize, FormatError> {
        let len = Self::len_of(pages);
        match usize::try_from(len) {
            Ok(len) if len <= limits::MAPPED_BITMAP => Ok(len),
            _ => {
                let what = "the bitmap of a mapped-ram block";
                Err(FormatError::too_long(
                    at,
                    what,
                    len,
                    limits::MAPPED_BITMAP as u64,
                ))
            }
        }
    }

    /// Whether page `index` is in the file.
    #[inline]
    pub fn has(&self, index: u64) -> bool {
        let byte = usize::try_from(index / 8)
            .ok()
            .and_then(|at| self.bytes.get(at));
        byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// Page `index` is in the file.
    #[inline]
    pub fn set(&mut self, index: u64) {
        let byte = usize::try_from(index / 8)
            .ok()
            .and_then(|at| self.bytes.get_mut(at));
        if let Some(byte) = byte {
            *byte |= 1 << (index % 8);
        }
    }

    /// Its bytes, as they stand in the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    /// That of `pc.ram` of QEMU 10.0.2 with `-m 64M`.
    const REAL: &[u8; LEN] = b"\0\0\0\x01\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\x8b\0\0\0\0\0\x10\0\0";

    #[test]
    fn the_header_that_qemu_wrote_is_read_and_written_back() {
        let header = Header::decode(&mut SliceSource::new(REAL), PageSize::X86).unwrap();
        let expected = Header {
            bitmap: 0x8b,
            pages: ALIGNMENT,
        };
        assert_eq!(header, expected);
        let mut bytes = Vec::new();
        header.encode(PageSize::X86, &mut bytes);
        assert_eq!(bytes, REAL);
        for end in 0..LEN {
            assert!(Header::decode(&mut SliceSource::new(&REAL[..end]), PageSize::X86).is_err());
        }
    }

    #[test]
    fn what_qemu_refuses_is_refused_and_an_older_version_is_read() {
        for (at, byte, says) in [
            (3, 2, "expected version 1, found 2, at offset 0x0"),
            (10, 0x20, "found 8192 bytes, at offset 0x4"),
            (
                27,
                1,
                "a page boundary, found pages at 0x100001, at offset 0x14",
            ),
        ] {
            let mut bytes = *REAL;
            bytes[at] = byte;
            let error = Header::decode(&mut SliceSource::new(&bytes), PageSize::X86).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let mut older = *REAL;
        older[3] = 0;
        Header::decode(&mut SliceSource::new(&older), PageSize::X86).unwrap();
    }

    #[test]
    fn a_bitmap_has_whole_words_and_its_bits_begin_with_the_lowest() {
        for (pages, len) in [(0, 0), (1, 8), (64, 8), (65, 16)] {
            assert_eq!(Bitmap::len_of(pages), len);
        }
        let bytes = [0x07, 0x80, 0, 0, 0, 0, 0, 0x80];
        let read = Bitmap::decode(&mut SliceSource::new(&bytes), 64, BitmapWords::Little).unwrap();
        let there: Vec<_> = (0..70).filter(|page| read.has(*page)).collect();
        assert_eq!(there, [0, 1, 2, 15, 63]);
        let mut written = Bitmap::new(64, 0).unwrap();
        there.iter().for_each(|page| written.set(*page));
        assert_eq!(written.as_bytes(), bytes);
        for end in 0..8 {
            assert!(
                Bitmap::decode(
                    &mut SliceSource::new(&bytes[..end]),
                    64,
                    BitmapWords::Little
                )
                .is_err()
            );
        }
        let error = Bitmap::decode(&mut SliceSource::new(&bytes), 1 << 40, BitmapWords::Little)
            .unwrap_err();
        assert!(error.to_string().contains("the limit is"), "{error}");
    }

    #[test]
    fn bits_behind_the_last_page_mean_nothing() {
        for (pages, left) in [
            (0, vec![]),
            (1, vec![1, 0, 0, 0, 0, 0, 0, 0]),
            (8, vec![0xff, 0, 0, 0, 0, 0, 0, 0]),
            (63, vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            (64, vec![0xff; 8]),
        ] {
            for words in [BitmapWords::Little, BitmapWords::Big] {
                let mut source = SliceSource::new(&[0xff; 8]);
                let bitmap = Bitmap::decode(&mut source, pages, words).unwrap();
                assert_eq!(bitmap.as_bytes(), left, "{pages} {words:?}");
                assert_eq!(bitmap.is_clear(), pages == 0);
            }
        }
    }

    #[test]
    fn the_words_of_other_hosts_hold_the_same_bits() {
        // Pages 0, 9 and 33, made by hand: we have no such hosts.
        let there = |words, bytes: &[u8], pages| {
            let mut source = SliceSource::new(bytes);
            let bitmap = Bitmap::decode(&mut source, pages, words).unwrap();
            assert_eq!(source.rest(), b"", "{words:?}");
            (0..pages)
                .filter(|page| bitmap.has(*page))
                .collect::<Vec<_>>()
        };
        for (words, bytes) in [
            (BitmapWords::Little, [1, 2, 0, 0, 2, 0, 0, 0]),
            (BitmapWords::Big, [0, 0, 0, 2, 0, 0, 2, 1]),
            (BitmapWords::Little32, [1, 2, 0, 0, 2, 0, 0, 0]),
            (BitmapWords::Big32, [0, 0, 2, 1, 0, 0, 0, 2]),
        ] {
            assert_eq!(there(words, &bytes, 64), [0, 9, 33], "{words:?}");
        }
        assert_eq!(there(BitmapWords::Big32, &[0, 0, 2, 1], 32), [0, 9]);
        assert_eq!(there(BitmapWords::Little32, &[1, 2, 0, 0], 20), [0, 9]);
    }
}
