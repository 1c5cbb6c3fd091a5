//! What a page is, told without reading it: from its digest.
//!
//! Two checkpoints of one store have digests with the same key, so that equal digests mean equal pages.
//! Nothing of a page itself is read or verified.

use vmferry::ram::{BlockIndex, PageIndex};

use super::Checkpoint;
use super::frame::beyond;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::map::PageAt;

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageIdentity {
    /// It was never sent.
    Absent,
    /// All its bytes are zero.
    Zero,
    /// It has this digest.
    Data(Digest),
}

impl Checkpoint {
    /// Whether equal pages have equal digests here and there.
    pub fn has_digests_like(&self, other: &Self) -> bool {
        // Any text would do.
        self.keys.check("pages") == other.keys.check("pages")
    }

    /// What a page is.
    ///
    /// # Errors
    /// The page map or a pack's index is damaged or missing, or could not be read.
    pub fn identity(&self, block: BlockIndex, page: PageIndex) -> Result<PageIdentity, StoreError> {
        let place = match self.place(block, page)? {
            PageAt::Absent => return Ok(PageIdentity::Absent),
            PageAt::Zero => return Ok(PageIdentity::Zero),
            PageAt::Stored(place) => place,
        };
        let pack = self.pool.packs().get(place.pack())?;
        let chunk = self.pool.chunk(&pack, place.frame())?;
        let frame = chunk.frame(place.frame())?;
        let (slot, pages) = (place.slot(), usize::from(frame.pages));
        let digest = chunk.digest(frame, slot);
        let digest = digest.ok_or_else(|| beyond(pack.index.name(), frame.offset, pages, slot))?;
        Ok(PageIdentity::Data(digest))
    }
}
