//! A frame in memory, and the buffers that frames are decompressed into.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::Weight;
use crate::digest::{Digest, Keys};
use crate::error::StoreError;
use crate::name::ObjectName;
use crate::pack::{Place, verify_page};

/// Which frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FrameId {
    /// Position of its pack in the manifest's list.
    pub(super) pack: u32,
    /// Its number in the pack.
    pub(super) number: u32,
}

impl From<Place> for FrameId {
    fn from(place: Place) -> Self {
        Self {
            pack: place.pack(),
            number: place.frame(),
        }
    }
}

/// The pages of one frame. Each is compared with its digest when it is first asked for, and not again.
pub(super) struct DecodedFrame {
    pub(super) pack: ObjectName,
    /// Where in the pack the frame is.
    pub(super) offset: u64,
    pub(super) page_size: usize,
    pub(super) pages: Vec<u8>,
    /// One for each page.
    pub(super) digests: Box<[Digest]>,
    /// A bit for each page.
    pub(super) verified: Box<[AtomicU64]>,
    /// Gets the buffer back.
    pub(super) spare: Arc<SpareBuffers>,
}

impl DecodedFrame {
    /// The page in `slot`, which is the one that was saved.
    pub(super) fn page(&self, slot: usize, keys: &Keys) -> Result<&[u8], StoreError> {
        let start = slot.saturating_mul(self.page_size);
        let page = self.pages.get(start..start.saturating_add(self.page_size));
        let (Some(page), Some(digest)) = (page, self.digests.get(slot)) else {
            return Err(beyond(self.pack, self.offset, self.digests.len(), slot));
        };
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        // Relaxed: the bit says something of bytes that nobody has written since the frame was made.
        let Some(word) = self.verified.get(word) else {
            return Err(StoreError::Unreachable("a page without a bit"));
        };
        if word.load(Ordering::Relaxed) & bit == 0 {
            verify_page(self.pack, self.offset, slot, *digest, page, keys)?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(page)
    }

    /// How many pages it has.
    pub(super) fn page_count(&self) -> usize {
        self.digests.len()
    }
}

impl Weight for DecodedFrame {
    fn weight(&self) -> u64 {
        (self.pages.len() + size_of_val(&*self.digests)) as u64
    }
}

impl Drop for DecodedFrame {
    fn drop(&mut self) {
        self.spare.give(mem::take(&mut self.pages));
    }
}

/// A page map names a slot that its frame does not have.
pub(super) fn beyond(pack: ObjectName, offset: u64, pages: usize, slot: usize) -> StoreError {
    let expected = format!("a slot below {pages}");
    StoreError::damaged(pack, "slot that a page map names", expected, slot).at(offset)
}

/// Buffers of frames that nobody uses any more: a new one would have to be cleared first.
#[derive(Default)]
pub(super) struct SpareBuffers {
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// Buffers are kept up to this many bytes each: those of larger frames are rare.
const MAX_SPARE_BYTES: usize = 256 << 10;
/// So many are kept.
const MAX_SPARE_BUFFERS: usize = 32;

impl SpareBuffers {
    pub(super) fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_default()
    }

    fn give(&self, buffer: Vec<u8>) {
        if buffer.capacity() > MAX_SPARE_BYTES {
            return;
        }
        let mut buffers = self.lock();
        if buffers.len() < MAX_SPARE_BUFFERS {
            buffers.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::StoreKey;
    use crate::name::ObjectKind;

    fn frame(keys: &Keys, pages: u8) -> DecodedFrame {
        let contents = (0..pages).map(|page| [page; 1024]);
        DecodedFrame {
            pack: ObjectName {
                kind: ObjectKind::Pack,
                digest: Digest::from_bytes([5; 32]),
            },
            offset: 32,
            page_size: 1024,
            pages: contents.clone().flatten().collect(),
            digests: contents.map(|page| keys.page(&page)).collect(),
            verified: (0..2).map(|_| AtomicU64::new(0)).collect(),
            spare: Arc::default(),
        }
    }

    #[test]
    fn a_page_is_compared_with_its_digest_once() {
        let keys = Keys::derive(&StoreKey::from_bytes([7; 32]));
        let mut frame = frame(&keys, 70);
        assert_eq!(frame.page(69, &keys).unwrap(), [69; 1024]);
        // Had it been compared again, it would be refused now.
        frame.digests[69] = keys.page(&[0; 1024]);
        assert_eq!(frame.page(69, &keys).unwrap(), [69; 1024]);
        frame.digests[5] = keys.page(&[0; 1024]);
        for _ in 0..2 {
            let error = frame.page(5, &keys).unwrap_err().to_string();
            assert!(error.contains("in slot 5"), "{error}");
        }
        let error = frame.page(70, &keys).unwrap_err().to_string();
        assert!(error.contains("a slot below 70"), "{error}");
    }

    #[test]
    fn the_buffer_of_a_frame_that_is_gone_is_used_again() {
        let keys = Keys::derive(&StoreKey::from_bytes([7; 32]));
        let frame = frame(&keys, 4);
        let spare = Arc::clone(&frame.spare);
        let buffer = frame.pages.as_ptr();
        drop(frame);
        let again = spare.take();
        assert_eq!(again.as_ptr(), buffer);
        assert!(spare.take().is_empty());
    }
}
