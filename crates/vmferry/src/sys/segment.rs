//! Pieces of memory as the kernel takes them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

/// Memory that other threads or a guest may change at any time: never a `&[u8]`. Its bytes leave
/// only through the kernel, or by one copy.
#[derive(Clone, Copy)]
pub struct RamSlice<'ram> {
    ptr: *const u8,
    len: usize,
    ram: PhantomData<&'ram ()>,
}

/// Memory that may be changed by others while we write it: never a `&mut [u8]`.
pub struct RamSliceMut<'ram> {
    ptr: *mut u8,
    len: usize,
    ram: PhantomData<&'ram mut ()>,
}

// SAFETY: it is an address and a length; whoever made it has promised that the memory stays mapped
// for 'ram, from whichever thread it is read.
unsafe impl Send for RamSlice<'_> {}
// SAFETY: as above; a shared reference to it gives nothing that a copy would not.
unsafe impl Sync for RamSlice<'_> {}
// SAFETY: as for `RamSlice`.
unsafe impl Send for RamSliceMut<'_> {}
// SAFETY: as for `RamSlice`.
unsafe impl Sync for RamSliceMut<'_> {}

impl<'ram> RamSlice<'ram> {
    /// Guest memory by address and length.
    ///
    /// # Safety
    /// `ptr..ptr + len` must stay mapped and readable for `'ram`. Its contents may change meanwhile.
    pub unsafe fn from_raw(ptr: *const u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            ram: PhantomData,
        }
    }

    /// Ordinary memory, which does not change for as long as the slice is borrowed.
    pub fn from_slice(bytes: &'ram [u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            ram: PhantomData,
        }
    }

    /// A part of it; `None` if the range is not within it.
    pub fn subslice(&self, range: Range<usize>) -> Option<Self> {
        let len = range.end.checked_sub(range.start)?;
        (range.end <= self.len).then(|| Self {
            ptr: self.ptr.wrapping_add(range.start),
            len,
            ram: PhantomData,
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of its first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    /// Copies as many bytes as fit into `out`, and tells how many.
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
    /// `ptr..ptr + len` must stay mapped and writable for `'ram`, and no Rust reference to it may be
    /// used meanwhile.
    pub unsafe fn from_raw(ptr: *mut u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            ram: PhantomData,
        }
    }

    /// Ordinary memory.
    pub fn from_slice(bytes: &'ram mut [u8]) -> Self {
        Self {
            ptr: bytes.as_mut_ptr(),
            len: bytes.len(),
            ram: PhantomData,
        }
    }

    /// What is left of it behind the first `n` bytes, for as long as this one is borrowed.
    pub fn skip(&mut self, n: usize) -> RamSliceMut<'_> {
        let n = n.min(self.len);
        RamSliceMut {
            ptr: self.ptr.wrapping_add(n),
            len: self.len - n,
            ram: PhantomData,
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies as many bytes of `from` as fit into it, and tells how many.
    pub fn copy_from(&mut self, from: &[u8]) -> usize {
        let len = self.len.min(from.len());
        // SAFETY: `ptr..ptr + len` is writable for 'ram by the promise of whoever made this, and no
        // reference to it is in use, so `from` does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.ptr, len) };
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
        let iovec = libc::iovec {
            iov_base: slice.ptr.cast_mut().cast(),
            iov_len: slice.len,
        };
        Self {
            iovec,
            memory: PhantomData,
        }
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.iovec.iov_len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory behind it.
    pub fn as_ram(&self) -> RamSlice<'a> {
        RamSlice {
            ptr: self.iovec.iov_base.cast_const().cast(),
            len: self.iovec.iov_len,
            ram: PhantomData,
        }
    }

    /// Copies as many bytes as fit into `out`, and tells how many.
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        self.as_ram().copy_to(out)
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
        let iovec = libc::iovec {
            iov_base: slice.ptr.cast(),
            iov_len: slice.len,
        };
        Self {
            iovec,
            memory: PhantomData,
        }
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.iovec.iov_len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies as many bytes of `from` as fit into it, and tells how many.
    pub fn copy_from(&mut self, from: &[u8]) -> usize {
        let mut slice = RamSliceMut {
            ptr: self.iovec.iov_base.cast(),
            len: self.iovec.iov_len,
            ram: PhantomData,
        };
        slice.copy_from(from)
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
        let mut segment = SegmentMut::new(&mut bytes);
        assert_eq!(segment.copy_from(b"xy"), 2);
        assert_eq!(&bytes, b"xy2ab56789");
    }

    #[test]
    fn a_segment_gives_a_copy_of_its_bytes() {
        let segment = Segment::new(b"abc");
        let mut out = [0; 8];
        assert_eq!(segment.copy_to(&mut out), 3);
        assert_eq!(&out[..3], b"abc");
    }
}
