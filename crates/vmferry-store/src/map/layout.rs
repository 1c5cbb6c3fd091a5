//! The fixed structures of a page map, and the coding of one chunk.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::PageAt;
use crate::pack::Place;

pub(super) const REGION_CHUNKS: u32 = 1;
pub(super) const REGION_TABLE: u32 = 2;
pub(super) const REGIONS: [u32; 2] = [REGION_CHUNKS, REGION_TABLE];

pub(super) const CODEC_ABSENT: u8 = 0;
pub(super) const CODEC_ZERO: u8 = 1;
pub(super) const CODEC_RAW: u8 = 2;
pub(super) const CODEC_ZSTD: u8 = 3;

const STATE_ABSENT: u8 = 0;
const STATE_ZERO: u8 = 1;
const STATE_STORED: u8 = 2;

/// Begins the map table; followed by a u64 for each block.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct TableHead {
    pub(super) chunk_pages: U32,
    pub(super) blocks: U32,
    pub(super) packs: U32,
    pub(super) reserved: U32,
}

/// One chunk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ChunkEntry {
    pub(super) offset: U64,
    pub(super) length: U32,
    pub(super) codec: u8,
    pub(super) reserved: [u8; 3],
    pub(super) digest: [u8; 32],
}

const _: () = assert!(size_of::<TableHead>() == 16);
const _: () = assert!(size_of::<ChunkEntry>() == 48);

/// Appends the chunk that says where `pages` are to `out`.
pub(super) fn encode(pages: impl Iterator<Item = PageAt> + Clone, out: &mut Vec<u8>) {
    out.extend(pages.clone().map(|page| match page {
        PageAt::Absent => STATE_ABSENT,
        PageAt::Zero => STATE_ZERO,
        PageAt::Stored(_) => STATE_STORED,
    }));
    let mut previous = 0_u64;
    for page in pages {
        if let PageAt::Stored(place) = page {
            out.extend_from_slice(&place.word().wrapping_sub(previous).to_le_bytes());
            previous = place.word();
        }
    }
}

/// The chunk of `pages` pages in `bytes`; the error says what is wrong.
pub(super) fn decode(bytes: &[u8], pages: usize) -> Result<Vec<PageAt>, &'static str> {
    let (states, words) = bytes
        .split_at_checked(pages)
        .ok_or("fewer states than pages")?;
    let mut words = words.chunks_exact(8);
    if !words.remainder().is_empty() {
        return Err("a part of a place");
    }
    let mut decoded = Vec::with_capacity(pages);
    let mut previous = 0_u64;
    for state in states {
        decoded.push(match *state {
            STATE_ABSENT => PageAt::Absent,
            STATE_ZERO => PageAt::Zero,
            STATE_STORED => {
                let word = words.next().and_then(|word| word.try_into().ok());
                let word = word
                    .map(u64::from_le_bytes)
                    .ok_or("fewer places than stored pages")?;
                previous = previous.wrapping_add(word);
                PageAt::Stored(Place::from_word(previous).ok_or("a place above 56 bits")?)
            }
            _ => return Err("an unknown state of a page"),
        });
    }
    if words.next().is_some() {
        return Err("more places than stored pages");
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_decoded_as_it_was_encoded() {
        let stored = |pack, frame, slot| PageAt::Stored(Place::new(pack, frame, slot));
        let pages = [
            PageAt::Zero,
            stored(3, 70_000, 15),
            PageAt::Absent,
            stored(0, 0, 0),
            stored(0, 0, 1),
        ];
        let mut bytes = Vec::new();
        encode(pages.iter().copied(), &mut bytes);
        assert_eq!(decode(&bytes, 5).unwrap(), pages);
        assert_eq!(bytes.len(), 5 + 3 * 8);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], 5).is_err(), "{len}");
        }
        bytes.push(0);
        assert!(decode(&bytes, 5).is_err());
        assert!(decode(&[3], 1).is_err());
        assert!(decode(&[2, 0, 0, 0, 0, 0, 0, 0, 1], 1).is_err());
    }
}
