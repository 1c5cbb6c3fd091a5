//! Memory that others may change while we look at it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

/// Memory that other threads or a guest may change at any time: never a `&[u8]`. Its bytes leave
/// only through the kernel, or by one copy.
#[derive(Clone, Copy)]
pub struct RamSlice<'ram> {
    pub(super) ptr: *const u8,
    pub(super) len: usize,
    /// The first byte of the slice that this one is a part of: only parts of the same slice may be
    /// joined again, however near two others may happen to lie.
    pub(super) origin: *const u8,
    ram: PhantomData<&'ram ()>,
}

/// Memory that may be changed by others while we write it: never a `&mut [u8]`.
pub struct RamSliceMut<'ram> {
    pub(super) ptr: *mut u8,
    pub(super) len: usize,
    ram: PhantomData<&'ram mut ()>,
}

// SAFETY: it is an address and a length; whoever made it has promised that the memory stays mapped
// for 'ram, from whichever thread it is read.
unsafe impl Send for RamSlice<'_> {}
// SAFETY: as above; a shared reference to it gives nothing that a copy would not.
unsafe impl Sync for RamSlice<'_> {}
// SAFETY: as for `RamSlice`.
unsafe impl Send for RamSliceMut<'_> {}
// SAFETY: as for `RamSlice`; writing needs a `&mut` to it.
unsafe impl Sync for RamSliceMut<'_> {}

impl<'ram> RamSlice<'ram> {
    /// Guest memory by address and length.
    ///
    /// # Safety
    /// `ptr..ptr + len` must stay mapped and readable for `'ram`, and nobody may rely on what it
    /// holds: it may change at any time, be it by the guest, or to zeros, because a stream was told
    /// to give its pages back once they are sent. So no `&[u8]` or `&mut [u8]` to it may be in use.
    pub unsafe fn from_raw(ptr: *const u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            origin: ptr,
            ram: PhantomData,
        }
    }

    /// Guest memory by address and length, as a part of the memory that `origin` stands for, which is
    /// the address of its first byte, or any other one that is used for nothing else. Parts of the
    /// same memory are joined where one ends where the other begins: they are sent as one piece, and
    /// given back as one.
    ///
    /// # Safety
    /// As for [`from_raw`](Self::from_raw), for all parts of the same memory while any of them is in
    /// use; and `origin` is not null.
    pub unsafe fn from_raw_part(origin: *const u8, ptr: *const u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            origin,
            ram: PhantomData,
        }
    }

    /// Ordinary memory, which does not change for as long as it is borrowed. For [`sys`](super)
    /// alone, which puts it into segments: nobody else may hold a slice that must not be given back.
    #[inline]
    pub(super) fn from_slice(bytes: &'ram [u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            origin: bytes.as_ptr(),
            ram: PhantomData,
        }
    }

    /// A part of it; `None` if the range is not within it.
    #[inline]
    pub fn subslice(&self, range: Range<usize>) -> Option<Self> {
        let len = range.end.checked_sub(range.start)?;
        (range.end <= self.len).then(|| Self {
            ptr: self.ptr.wrapping_add(range.start),
            len,
            ..*self
        })
    }

    /// It and `next` as one slice, if they are parts of the same slice and `next` begins where this
    /// one ends.
    pub(crate) fn join(&self, next: Self) -> Option<Self> {
        let adjacent = self.origin == next.origin && self.ptr.wrapping_add(self.len) == next.ptr;
        adjacent.then(|| Self {
            len: self.len + next.len,
            ..*self
        })
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of its first byte.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    /// Copies as many bytes as fit into `out`, and tells how many.
    #[inline]
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        let len = self.len.min(out.len());
        // SAFETY: `ptr..ptr + len` is mapped for 'ram by the promise of whoever made this; `out` is
        // ours alone. Bytes that change meanwhile may come torn, which every user of guest memory
        // has to live with.
        unsafe { std::ptr::copy_nonoverlapping(self.ptr, out.as_mut_ptr(), len) };
        len
    }
}

impl<'ram> RamSliceMut<'ram> {
    /// Guest memory by address and length.
    ///
    /// # Safety
    /// `ptr..ptr + len` must stay mapped, readable and writable for `'ram`, and no `&[u8]` or
    /// `&mut [u8]` to it may be in use meanwhile.
    pub unsafe fn from_raw(ptr: *mut u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            ram: PhantomData,
        }
    }

    /// Ordinary memory.
    #[inline]
    pub fn from_slice(bytes: &'ram mut [u8]) -> Self {
        Self {
            ptr: bytes.as_mut_ptr(),
            len: bytes.len(),
            ram: PhantomData,
        }
    }

    /// A part of it, for as long as this one is borrowed; `None` if the range is not within it.
    #[inline]
    pub fn subslice_mut(&mut self, range: Range<usize>) -> Option<RamSliceMut<'_>> {
        let len = range.end.checked_sub(range.start)?;
        (range.end <= self.len).then(|| RamSliceMut {
            ptr: self.ptr.wrapping_add(range.start),
            len,
            ram: PhantomData,
        })
    }

    /// What is left of it behind the first `n` bytes, for as long as this one is borrowed.
    #[inline]
    pub fn skip(&mut self, n: usize) -> RamSliceMut<'_> {
        let n = n.min(self.len);
        RamSliceMut {
            ptr: self.ptr.wrapping_add(n),
            len: self.len - n,
            ram: PhantomData,
        }
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies as many bytes of `from` as fit into it, and tells how many.
    #[inline]
    pub fn copy_from(&mut self, from: &[u8]) -> usize {
        let len = self.len.min(from.len());
        // SAFETY: `ptr..ptr + len` is writable for 'ram by the promise of whoever made this, and no
        // reference to it is in use, so `from` does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.ptr, len) };
        len
    }

    /// Copies its first bytes out, as many as fit into `out`, and tells how many.
    pub(crate) fn copy_to(&self, out: &mut [u8]) -> usize {
        let len = self.len.min(out.len());
        // SAFETY: `ptr..ptr + len` is readable for 'ram by the promise of whoever made this, and no
        // reference to it is in use, so `out` does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(self.ptr, out.as_mut_ptr(), len) };
        len
    }
}

impl fmt::Debug for RamSlice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RamSlice({:p}, {})", self.ptr, self.len)
    }
}

impl fmt::Debug for RamSliceMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RamSliceMut({:p}, {})", self.ptr, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_slice_is_within_it_or_nothing() {
        let bytes = *b"0123456789";
        let slice = RamSlice::from_slice(&bytes);
        let mut out = [0; 4];
        assert_eq!(slice.subslice(3..7).unwrap().copy_to(&mut out), 4);
        assert_eq!(&out, b"3456");
        assert!(slice.subslice(0..10).is_some());
        assert!(slice.subslice(0..11).is_none());
        assert!(slice.subslice(10..10).unwrap().is_empty());
        assert!(slice.subslice(Range { start: 4, end: 3 }).is_none());
    }

    #[test]
    fn what_is_copied_in_stays_within_the_slice() {
        let mut bytes = *b"0123456789";
        let mut slice = RamSliceMut::from_slice(&mut bytes[..5]);
        assert_eq!(slice.skip(3).copy_from(b"abcdef"), 2);
        assert_eq!(slice.skip(9).copy_from(b"abcdef"), 0);
        assert_eq!(&bytes, b"012ab56789");
    }

    #[test]
    fn what_is_copied_out_is_what_the_slice_holds() {
        let mut bytes = *b"0123456789";
        let slice = RamSliceMut::from_slice(&mut bytes[2..5]);
        let mut out = [b'-'; 4];
        assert_eq!(slice.copy_to(&mut out), 3);
        assert_eq!(&out, b"234-");
    }
}
