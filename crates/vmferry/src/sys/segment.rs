//! Pieces of memory as the kernel takes them.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{RamSlice, RamSliceMut};

/// One piece of a vectored write: an iovec, ready for the kernel.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Segment<'a> {
    iovec: libc::iovec,
    memory: PhantomData<&'a ()>,
}

/// One piece of a vectored read: an iovec, ready for the kernel.
#[repr(transparent)]
pub struct SegmentMut<'a> {
    iovec: libc::iovec,
    memory: PhantomData<&'a mut ()>,
}

// SAFETY: made only from a `&[u8]` or a `RamSlice`, both of which are Send and Sync, and gives
// nothing but copies of what they show.
unsafe impl Send for Segment<'_> {}
// SAFETY: as above.
unsafe impl Sync for Segment<'_> {}
// SAFETY: made only from a `&mut [u8]` or a `RamSliceMut`, both of which are Send.
unsafe impl Send for SegmentMut<'_> {}
// SAFETY: a shared reference to it gives nothing but its length.
unsafe impl Sync for SegmentMut<'_> {}

impl<'a> Segment<'a> {
    /// Ordinary memory.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::ram(RamSlice::from_slice(bytes))
    }

    /// Guest memory.
    #[inline]
    pub fn ram(slice: RamSlice<'a>) -> Self {
        Self::from_parts(slice.ptr, slice.len)
    }

    /// The piece that starts at `ptr`; the other functions of [`sys`](super) know why it is there.
    #[inline]
    pub(super) const fn from_parts(ptr: *const u8, len: usize) -> Self {
        Self {
            iovec: libc::iovec {
                iov_base: ptr.cast_mut().cast(),
                iov_len: len,
            },
            memory: PhantomData,
        }
    }

    /// The address of its first byte: for channels that hand it on to C.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.iovec.iov_base.cast_const().cast()
    }

    /// It without its first `n` bytes.
    #[inline]
    pub fn skip(&self, n: usize) -> Self {
        let n = n.min(self.len());
        Self::from_parts(self.as_ptr().wrapping_add(n), self.len() - n)
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.iovec.iov_len
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies as many bytes as fit into `out`, and tells how many.
    #[inline]
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        let len = self.len().min(out.len());
        // SAFETY: the memory is mapped for 'a: a `&[u8]` says so itself, and for a `RamSlice`
        // whoever made it; `out` is ours alone.
        unsafe { std::ptr::copy_nonoverlapping(self.as_ptr(), out.as_mut_ptr(), len) };
        len
    }

    /// Appends its bytes to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        // SAFETY: the memory is mapped for 'a, as in `copy_to`; `reserve` has made room for
        // `len` bytes behind the vector's own, and they are written before they count.
        unsafe {
            let room = out.as_mut_ptr().add(out.len());
            std::ptr::copy_nonoverlapping(self.as_ptr(), room, self.len());
            out.set_len(out.len() + self.len());
        }
    }
}

impl<'a> SegmentMut<'a> {
    /// Ordinary memory.
    #[inline]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self::ram(RamSliceMut::from_slice(bytes))
    }

    /// Guest memory.
    #[inline]
    // Taken by value, so that no second one stands for the same memory.
    #[allow(clippy::needless_pass_by_value)]
    pub fn ram(slice: RamSliceMut<'a>) -> Self {
        Self {
            iovec: libc::iovec {
                iov_base: slice.ptr.cast(),
                iov_len: slice.len,
            },
            memory: PhantomData,
        }
    }

    /// The address of its first byte: for channels that hand it on to C.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.iovec.iov_base.cast()
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.iovec.iov_len
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies as many bytes of `from` as fit behind its first `skip` bytes, and tells how many.
    #[inline]
    pub fn copy_from_at(&mut self, skip: usize, from: &[u8]) -> usize {
        let skip = skip.min(self.len());
        let mut rest = Self {
            iovec: libc::iovec {
                iov_base: self.iovec.iov_base.cast::<u8>().wrapping_add(skip).cast(),
                iov_len: self.len() - skip,
            },
            memory: PhantomData,
        };
        rest.copy_from(from)
    }

    /// Copies as many bytes of `from` as fit into it, and tells how many.
    #[inline]
    pub fn copy_from(&mut self, from: &[u8]) -> usize {
        let len = self.len().min(from.len());
        // SAFETY: the memory is writable for 'a: a `&mut [u8]` says so itself, and for a
        // `RamSliceMut` whoever made it; it is borrowed or never referred to, so `from` does not
        // overlap it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.iovec.iov_base.cast(), len) };
        len
    }
}

impl Default for Segment<'_> {
    /// A piece without bytes.
    fn default() -> Self {
        Self::from_parts(NonNull::dangling().as_ptr(), 0)
    }
}

impl fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} bytes)", self.len())
    }
}

impl fmt::Debug for SegmentMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentMut({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_gives_a_copy_of_its_bytes() {
        let segment = Segment::new(b"abc");
        let mut out = [0; 8];
        assert_eq!(segment.copy_to(&mut out), 3);
        assert_eq!(&out[..3], b"abc");
        let mut all = b"->".to_vec();
        segment.append_to(&mut all);
        segment.skip(2).append_to(&mut all);
        segment.skip(4).append_to(&mut all);
        assert_eq!(all, b"->abcc");
    }

    #[test]
    fn what_is_copied_in_stays_within_the_segment() {
        let mut bytes = *b"01234";
        let mut segment = SegmentMut::new(&mut bytes[..2]);
        assert_eq!(segment.copy_from(b"xyz"), 2);
        assert_eq!(&bytes, b"xy234");
    }

    #[test]
    fn a_segment_has_the_layout_of_an_iovec() {
        assert_eq!(size_of::<Segment<'_>>(), size_of::<libc::iovec>());
        assert_eq!(size_of::<SegmentMut<'_>>(), size_of::<libc::iovec>());
    }
}
