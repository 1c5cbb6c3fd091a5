//! The memory of a machine as the crate `vm-memory` has it.

use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use super::release::{Release, Releaser};
use super::{Reader, Result, Writer};
use crate::channel::{RamSlice, RamSliceMut, ReadChannel, WriteChannel};

impl<'ram, C: WriteChannel, M: Releaser> Writer<'ram, C, M> {
    /// As [`put_ram`](Self::put_ram).
    #[inline]
    pub fn put_volatile<B: BitmapSlice>(
        &mut self,
        memory: &VolatileSlice<'ram, B>,
        release: Release,
    ) {
        self.put_ram(RamSlice::from(memory), release);
    }
}

impl<C: ReadChannel> Reader<C> {
    /// As [`get_ram`](Self::get_ram); what may have been written is marked dirty.
    ///
    /// # Errors
    /// As for [`get_ram`](Self::get_ram).
    pub fn get_volatile<B: BitmapSlice>(&mut self, memory: &VolatileSlice<'_, B>) -> Result<()> {
        let result = self.get_ram(RamSliceMut::from(memory));
        // Also where it failed: part of it may have come.
        memory.bitmap().mark_dirty(0, memory.len());
        result
    }
}
