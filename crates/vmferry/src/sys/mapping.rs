//! Memory mapped to be a guest's.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use super::{RamSlice, RamSliceMut};

/// Memory as a guest has it: mapped by itself, possibly shared with another process, never a Rust
/// slice. For programs that do not have their machine's memory by other means.
#[derive(Debug)]
pub struct RamMapping {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: it is an address and a length, and the memory belongs to no thread; it is read through
// `&self` and written through `&mut self` alone, as far as this process goes.
unsafe impl Send for RamMapping {}
// SAFETY: as above.
unsafe impl Sync for RamMapping {}

impl RamMapping {
    /// `len` bytes of private memory, all zero; not 0 bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn private(len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // Safe Rust has no mappings.
        // SAFETY: the system chooses an address where nothing else is.
        let ptr =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE)? };
        Self::new(ptr, len)
    }

    /// `len` bytes of `file` (say, a memfd), from `offset` on, shared with all who map it; both whole
    /// pages. Whoever makes the file shorter ends the processes that use what is missing then.
    ///
    /// # Errors
    /// What the system says.
    pub fn shared(file: impl AsFd, offset: u64, len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // Safe Rust has no mappings.
        // SAFETY: the system chooses an address where nothing else is; that others change what is
        // there is what guest memory is like, and no reference to it is made.
        let ptr = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                file,
                offset,
            )?
        };
        Self::new(ptr, len)
    }

    fn new(ptr: *mut std::ffi::c_void, len: usize) -> io::Result<Self> {
        let ptr = NonNull::new(ptr.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { ptr, len })
    }

    /// Asks the system to back it by huge pages where it can.
    ///
    /// # Errors
    /// What the system says; one that has no huge pages refuses.
    pub fn prefer_huge_pages(&self) -> io::Result<()> {
        let advice = Advice::LinuxHugepage;
        // SAFETY: it is mapped until `self` is dropped, and its contents do not change.
        unsafe { madvise(self.ptr.as_ptr().cast(), self.len, advice)? };
        Ok(())
    }

    /// All of it, to be read.
    pub fn as_ram(&self) -> RamSlice<'_> {
        // SAFETY: it is mapped until `self` is dropped, and nobody can have a reference to it.
        unsafe { RamSlice::from_raw(self.ptr.as_ptr(), self.len) }
    }

    /// All of it, to be written.
    pub fn as_ram_mut(&mut self) -> RamSliceMut<'_> {
        // SAFETY: it is mapped until `self` is dropped, and nobody can have a reference to it.
        unsafe { RamSliceMut::from_raw(self.ptr.as_ptr(), self.len) }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: there is at least one page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for RamMapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped like this, and every slice of it has borrowed `self`.
        let unmapped = unsafe { munmap(self.ptr.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "what was mapped can be unmapped");
    }
}
