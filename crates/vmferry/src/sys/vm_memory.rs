//! The slices of `vm-memory` as ours.

use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use super::{RamSlice, RamSliceMut};

impl<'ram, B: BitmapSlice> From<&VolatileSlice<'ram, B>> for RamSlice<'ram> {
    fn from(slice: &VolatileSlice<'ram, B>) -> Self {
        let guard = slice.ptr_guard();
        // SAFETY: a `VolatileSlice` is mapped for 'ram, and its contents may change at any time by
        // its own contract, so nobody relies on what it holds.
        unsafe { Self::from_raw(guard.as_ptr(), guard.len()) }
    }
}

impl<'ram, B: BitmapSlice> From<&VolatileSlice<'ram, B>> for RamSliceMut<'ram> {
    /// Who writes through it marks the slice's dirty bitmap;
    /// [`Reader::get_volatile`](crate::stream::Reader::get_volatile) does.
    fn from(slice: &VolatileSlice<'ram, B>) -> Self {
        let guard = slice.ptr_guard_mut();
        // SAFETY: a `VolatileSlice` is mapped and writable for 'ram, and is never a Rust reference
        // by its own contract.
        unsafe { Self::from_raw(guard.as_ptr(), guard.len()) }
    }
}
