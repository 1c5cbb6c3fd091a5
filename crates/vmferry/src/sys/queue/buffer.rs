//! The memory that a queue owns.

use std::ptr::{self, NonNull};
use std::sync::Arc;

/// The buffer for copied bytes, initialised and reached through a raw pointer alone; and whatever
/// was handed over to be sent from where it is.
pub(super) struct Buffer {
    pub(super) ptr: NonNull<u8>,
    pub(super) capacity: usize,
    pub(super) owners: Vec<Owner>,
    /// The kernel may still read it.
    pub(super) in_use: bool,
}

/// Keeps memory in place for as long as it waits. `Arc`, unlike `Box`, makes no claim to be the only
/// way to what it holds, so pointers into it stay good while it is moved about.
pub(super) enum Owner {
    Shared { _bytes: Arc<[u8]> },
    Owned { _value: Arc<dyn Send + Sync> },
}

impl Buffer {
    pub(super) fn new(capacity: usize) -> Self {
        let bytes: Box<[u8]> = vec![0; capacity].into();
        Self {
            // `Box::into_raw` never gives null.
            ptr: NonNull::new(Box::into_raw(bytes).cast()).unwrap_or(NonNull::dangling()),
            capacity,
            owners: Vec::new(),
            in_use: false,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.in_use {
            // A stream that was not finished. What the allocator would put here next is nobody's
            // business on the other side.
            std::mem::forget(std::mem::take(&mut self.owners));
            return;
        }
        let bytes = ptr::slice_from_raw_parts_mut(self.ptr.as_ptr(), self.capacity);
        // SAFETY: `new` took it apart from a box of this length, and nobody else frees it.
        drop(unsafe { Box::from_raw(bytes) });
    }
}
