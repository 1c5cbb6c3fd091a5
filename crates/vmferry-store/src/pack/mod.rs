//! Packs: immutable files of compressed pages, with a digest for every page.
//!
//! The invariant: from the pack's name down to one page, each step is covered by a digest that was
//! compared one step earlier. `docs/format.md`, section 6, has the layout.

mod layout;
mod read;
mod write;

pub(crate) use read::{Frame, IndexChunk, PackIndex, verify_page};
pub(crate) use write::{PackWriter, StoredFrame};

/// Where a page is: the word that a page map holds.
///
/// ```text
/// 63      56 55                36 35                    12 11        0
/// | zero    | pack, 20 bits      | frame, 24 bits         | slot, 12 |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(u64);

impl Place {
    const SLOT_BITS: u32 = 12;
    const FRAME_BITS: u32 = 24;
    const PACK_BITS: u32 = 20;

    /// The place of a page; the parts are within the format's limits.
    pub(crate) fn new(pack: u32, frame: u32, slot: u16) -> Self {
        debug_assert!(u64::from(pack) < 1 << Self::PACK_BITS);
        debug_assert!(u64::from(frame) < 1 << Self::FRAME_BITS);
        debug_assert!(u64::from(slot) < 1 << Self::SLOT_BITS);
        Self(
            u64::from(pack) << (Self::SLOT_BITS + Self::FRAME_BITS)
                | u64::from(frame) << Self::SLOT_BITS
                | u64::from(slot),
        )
    }

    /// The same place in the pack at another position.
    pub(crate) fn in_pack(self, pack: u32) -> Self {
        let rest = (1 << (Self::SLOT_BITS + Self::FRAME_BITS)) - 1;
        Self(Self::new(pack, 0, 0).0 | self.0 & rest)
    }

    /// The word, if its upper bits are zero.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word >> (Self::SLOT_BITS + Self::FRAME_BITS + Self::PACK_BITS) == 0).then_some(Self(word))
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// Position of the pack in the manifest's list.
    pub(crate) fn pack(self) -> u32 {
        Self::bits(
            self.0 >> (Self::SLOT_BITS + Self::FRAME_BITS),
            Self::PACK_BITS,
        )
    }

    /// Number of the frame in the pack.
    pub(crate) fn frame(self) -> u32 {
        Self::bits(self.0 >> Self::SLOT_BITS, Self::FRAME_BITS)
    }

    /// Number of the page in the frame.
    pub(crate) fn slot(self) -> usize {
        Self::bits(self.0, Self::SLOT_BITS) as usize
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 24 bits are left")]
    fn bits(word: u64, bits: u32) -> u32 {
        (word & ((1 << bits) - 1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::backend::{Object, ReadRange, Upload};
    use crate::codec::{Codec, Decompressors};
    use crate::digest::{Keys, StoreKey};
    use crate::error::StoreError;
    use crate::limits::MAX_CODEC_OVERHEAD;
    use crate::name::Key;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Upload for Memory {
        fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        }

        fn seal(self: Box<Self>, _: &Key) -> Result<(), StoreError> {
            Ok(())
        }
    }

    impl Object for Memory {
        fn length(&self) -> u64 {
            self.0.lock().unwrap().len() as u64
        }

        fn read(&self, ranges: &mut [ReadRange<'_>]) -> Result<(), StoreError> {
            for ReadRange { offset, buffer } in ranges {
                let start = usize::try_from(*offset).unwrap();
                buffer.copy_from_slice(&self.0.lock().unwrap()[start..start + buffer.len()]);
            }
            Ok(())
        }
    }

    /// The index chunk of a pack with one frame, of one page of 1 KiB, that is stored as `bytes`.
    fn index_of(bytes: &[u8], page: &[u8]) -> (PackIndex, Result<IndexChunk, StoreError>) {
        let keys = Keys::derive(&StoreKey::from_bytes([7; 32]));
        let memory = Memory::default();
        let mut writer = PackWriter::begin(Box::new(memory.clone()), 1024, 1).unwrap();
        let frame = StoredFrame {
            codec: Codec::Zstd,
            bytes,
            digests: &[keys.page(page)],
        };
        writer.append(&frame).unwrap();
        let record = writer.finish(&keys).unwrap();
        let pack = PackIndex::read(&memory, &record, 1024, &keys).unwrap();
        let chunk = pack.read_index(&memory, 0, &keys);
        (pack, chunk)
    }

    #[test]
    fn a_stored_frame_may_be_a_little_longer_than_its_pages_and_no_more() {
        let mut page = vec![0; 1024];
        blake3::Hasher::new().finalize_xof().fill(&mut page);
        let mut stored = zstd::bulk::compress(&page, 1).unwrap();
        assert!(stored.len() > page.len());
        let (pack, chunk) = index_of(&stored, &page);
        let mut found = Vec::new();
        let frame = *chunk.unwrap().frame(0).unwrap();
        let decompressors = Decompressors::default();
        pack.decode(&frame, &stored, &mut found, &decompressors)
            .unwrap();
        assert_eq!(found, page);

        stored.resize(page.len() + MAX_CODEC_OVERHEAD as usize, 0);
        assert!(index_of(&stored, &page).1.is_ok());
        stored.push(0);
        assert!(index_of(&stored, &page).1.unwrap_err().is_damage());
    }

    #[test]
    fn a_place_keeps_its_parts_apart() {
        for (pack, frame, slot) in [(0, 0, 0), (1, 2, 3), ((1 << 20) - 1, (1 << 24) - 1, 4095)] {
            let place = Place::new(pack, frame, slot);
            assert_eq!(
                (place.pack(), place.frame(), place.slot()),
                (pack, frame, usize::from(slot))
            );
            assert_eq!(Place::from_word(place.word()), Some(place));
            let moved = place.in_pack(9);
            assert_eq!(
                (moved.pack(), moved.frame(), moved.slot()),
                (9, frame, usize::from(slot))
            );
        }
        assert_eq!(Place::from_word(1 << 56), None);
    }
}
