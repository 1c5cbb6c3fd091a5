//! Packs: immutable files of compressed pages, with a digest for every page.
//!
//! The invariant: from the pack's name down to one page, each step is covered by a digest that was
//! compared one step earlier. `docs/format.md`, section 6, has the layout.

mod layout;
mod read;
mod write;

pub(crate) use read::{Frame, IndexChunk, PackIndex};
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
    use super::Place;

    #[test]
    fn a_place_keeps_its_parts_apart() {
        for (pack, frame, slot) in [(0, 0, 0), (1, 2, 3), ((1 << 20) - 1, (1 << 24) - 1, 4095)] {
            let place = Place::new(pack, frame, slot);
            assert_eq!(
                (place.pack(), place.frame(), place.slot()),
                (pack, frame, usize::from(slot))
            );
            assert_eq!(Place::from_word(place.word()), Some(place));
        }
        assert_eq!(Place::from_word(1 << 56), None);
    }
}
