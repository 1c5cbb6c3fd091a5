//! The packs that a checkpoint names: those of its save, and those of other saves in which it has pages.

use std::collections::HashMap;

use super::packer::Packed;
use crate::error::StoreError;
use crate::limits::MAX_PACKS;
use crate::manifest::PackRecord;
use crate::map::{Places, Recorded};
use crate::pack::Place;

/// Says where pages are, in terms of the list that the manifest will have: first the save's own packs, then
/// others in the order in which they were first needed.
pub(super) struct PackList<'a> {
    packed: &'a Packed,
    known: &'a [PackRecord],
    packs: Vec<PackRecord>,
    /// By position in `known`: the position in `packs`.
    positions: HashMap<u32, u32>,
    /// Pages in the save's own packs.
    own_pages: u64,
}

impl<'a> PackList<'a> {
    pub(super) fn new(packed: &'a Packed, known: &'a [PackRecord]) -> Self {
        Self {
            packed,
            known,
            packs: packed.packs.clone(),
            positions: HashMap::new(),
            own_pages: 0,
        }
    }

    /// How many pages of the checkpoint are in packs that its save wrote.
    pub(super) fn own_pages(&self) -> u64 {
        self.own_pages
    }

    pub(super) fn into_packs(self) -> Vec<PackRecord> {
        self.packs
    }

    /// The position of a known pack in the list, to which it is added when it is first asked for.
    fn position(&mut self, known: u32) -> Result<u32, StoreError> {
        if let Some(position) = self.positions.get(&known) {
            return Ok(*position);
        }
        let Some(record) = self.known.get(known as usize) else {
            return Err(StoreError::Unreachable(
                "a known page is in an unknown pack",
            ));
        };
        // A list names no pack twice, though a save may have made one again.
        let mut packs = self.packs.iter();
        let named = packs.position(|pack| pack.digest == record.digest);
        let position = match named {
            Some(position) => position,
            None if self.packs.len() >= MAX_PACKS => {
                return Err(StoreError::TooLarge {
                    what: "the number of packs",
                    found: self.packs.len() as u64 + 1,
                    limit: MAX_PACKS as u64,
                });
            }
            None => {
                self.packs.push(*record);
                self.packs.len() - 1
            }
        };
        let position = u32::try_from(position)
            .map_err(|_| StoreError::Unreachable("more packs than the format allows"))?;
        self.positions.insert(known, position);
        Ok(position)
    }
}

impl Places for PackList<'_> {
    fn place(&mut self, recorded: Recorded) -> Result<Place, StoreError> {
        match recorded {
            Recorded::Frame { number, slot } => {
                let (pack, frame) = self
                    .packed
                    .place(number)
                    .ok_or(StoreError::Unreachable("a frame that is in no pack"))?;
                self.own_pages += 1;
                Ok(Place::new(pack, frame, slot))
            }
            Recorded::Elsewhere(place) => Ok(place.in_pack(self.position(place.pack())?)),
            Recorded::Absent | Recorded::Zero => {
                Err(StoreError::Unreachable("a place of a page without content"))
            }
        }
    }

    fn packs(&self) -> usize {
        self.packs.len()
    }
}
