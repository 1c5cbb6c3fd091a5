//! Giving pages of guest memory back to the system.

use std::io;
use std::marker::PhantomData;

use rustix::mm::{Advice, madvise};

use super::RamSlice;

/// Whole pages of guest memory that have been sent and that nobody needs any more.
///
/// A stream makes it from memory that it was told to release, and hands it to a
/// [`Releaser`](crate::stream::Releaser), which knows what kind of memory it is.
#[derive(Debug)]
pub struct SentPages<'a> {
    ptr: *mut u8,
    len: usize,
    ram: PhantomData<&'a ()>,
}

impl SentPages<'_> {
    /// The whole pages within a slice, and the bytes of it behind the last of them; `None` if
    /// there is no whole page.
    pub(crate) fn within(slice: RamSlice<'_>, page_size: usize) -> Option<(SentPages<'_>, usize)> {
        let start = slice.ptr as usize;
        let first = start.checked_next_multiple_of(page_size)?;
        let end = start + slice.len;
        let last = end - end % page_size;
        let len = last.checked_sub(first).filter(|len| *len > 0)?;
        let pages = SentPages {
            ptr: slice.ptr.wrapping_add(first - start).cast_mut(),
            len,
            ram: PhantomData,
        };
        Some((pages, end - last))
    }

    /// The address of the first page.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    /// Bytes in the pages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: there is at least one page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops the pages of private memory (`MADV_DONTNEED`); they read as zeros from then on.
    ///
    /// # Errors
    /// What the system says.
    pub fn discard_private(&self) -> io::Result<()> {
        self.advise(Advice::LinuxDontNeed)
    }

    /// Punches a hole into the file or memfd that is mapped here (`MADV_REMOVE`), so that the
    /// memory goes back to the system for all who share it; it reads as zeros from then on.
    ///
    /// # Errors
    /// What the system says; the mapping has to be shared and writable.
    pub fn punch_hole(&self) -> io::Result<()> {
        self.advise(Advice::LinuxRemove)
    }

    fn advise(&self, advice: Advice) -> io::Result<()> {
        // Safe Rust has no way to change what a mapping holds.
        // SAFETY: the pages are within a `RamSlice`, whose maker has promised that they are mapped
        // and that nobody relies on what they hold, which may become zeros; no page is touched
        // beyond the slice, because the range was rounded inwards.
        unsafe { madvise(self.ptr.cast(), self.len, advice)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_inside_a_slice_are_given_back() {
        // Addresses are all that counts here; nothing is read and nothing given back.
        let within = |start: usize, len| {
            // SAFETY: never read through.
            let slice = unsafe { RamSlice::from_raw(start as *const u8, len) };
            SentPages::within(slice, 0x1000)
                .map(|(pages, rest)| (pages.as_ptr() as usize, pages.len(), rest))
        };
        assert_eq!(within(0x8000, 0x1000), Some((0x8000, 0x1000, 0)));
        assert_eq!(within(0x8000, 100), None, "less than a page");
        assert_eq!(within(0x8008, 0x1000), None, "a page's worth, but of two");
        assert_eq!(within(0x8008, 0x1ff8), Some((0x9000, 0x1000, 0)));
        assert_eq!(within(0x8000, 0x2001), Some((0x8000, 0x2000, 1)));
        assert_eq!(within(usize::MAX - 10, 5), None);
    }
}
