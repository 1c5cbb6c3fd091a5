//! What can be put into a stream.
//!
//! Small things are copied into the queue's buffer: a check and a store. Large ones can be referred
//! to instead, with four promises about the memory, the weakest last: borrowed for as long as the
//! writer lives, shared, handed over, and guest memory, which may change until it is sent.

use std::io;
use std::sync::Arc;

use super::super::release::{Release, Releaser};
use super::super::{OnWouldBlock, Result};
use super::{Writer, too_long};
use crate::channel::{RamSlice, Segment, WriteChannel};
use crate::sys::{Mark, SendQueue};

impl<'ram, C: WriteChannel, M: Releaser> Writer<'ram, C, M> {
    /// One byte.
    #[inline]
    #[doc(alias = "qemu_put_byte")]
    pub fn put_u8(&mut self, value: u8) {
        self.put_array(value.to_be_bytes());
    }

    /// A big-endian 16-bit number.
    #[inline]
    #[doc(alias = "qemu_put_be16")]
    pub fn put_be16(&mut self, value: u16) {
        self.put_array(value.to_be_bytes());
    }

    /// A big-endian 32-bit number.
    #[inline]
    #[doc(alias = "qemu_put_be32")]
    pub fn put_be32(&mut self, value: u32) {
        self.put_array(value.to_be_bytes());
    }

    /// A big-endian 64-bit number.
    #[inline]
    #[doc(alias = "qemu_put_be64")]
    pub fn put_be64(&mut self, value: u64) {
        self.put_array(value.to_be_bytes());
    }

    /// A few bytes by value.
    #[inline]
    pub fn put_array<const N: usize>(&mut self, array: [u8; N]) {
        if !self.queue.push_array(array) {
            self.put_slowly(Segment::new(&array));
        }
    }

    /// Bytes, copied; what does not fit into the buffer is sent from where it is, at once.
    #[inline]
    #[doc(alias = "qemu_put_buffer")]
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        if !self.queue.push_bytes(bytes) {
            self.put_slowly(Segment::new(bytes));
        }
    }

    /// Guest memory, copied as it is now; what does not fit into the buffer is sent from where it is,
    /// at once.
    #[inline]
    #[doc(alias = "qemu_put_buffer")]
    pub fn put_ram_copied(&mut self, memory: RamSlice<'_>) {
        if !self.queue.push_ram_copy(memory) {
            self.put_slowly(Segment::ram(memory));
        }
    }

    /// A length byte, and as many bytes.
    ///
    /// # Errors
    /// There are more than 255 of them; nothing was put.
    #[inline]
    #[doc(alias = "qemu_put_counted_string")]
    pub fn put_counted(&mut self, bytes: &[u8]) -> Result<()> {
        let Ok(len) = u8::try_from(bytes.len()) else {
            return Err(too_long(bytes.len(), 255, self.queued_position()));
        };
        self.put_u8(len);
        self.put_bytes(bytes);
        Ok(())
    }

    /// Room for `n` bytes that are put by writing them there. Whatever of it is
    /// [committed](Reserved::commit) is part of the stream.
    ///
    /// # Errors
    /// The room is larger than the buffer, or the stream has failed.
    #[inline]
    pub fn reserve(&mut self, n: usize) -> Result<Reserved<'_, 'ram>> {
        if self.queue.reserve(n).is_none() {
            if n > self.config.buffer {
                return Err(too_long(n, self.config.buffer, self.queued_position()));
            }
            self.send(Segment::default(), OnWouldBlock::Wait)?;
        }
        Ok(Reserved {
            queue: &mut self.queue,
            n,
        })
    }

    /// Bytes that stay where they are until they are sent.
    #[inline]
    #[doc(alias = "qemu_put_buffer_async")]
    pub fn put_borrowed(&mut self, bytes: &'ram [u8]) {
        if !bytes.is_empty() && !self.queue.push_borrowed(bytes) {
            self.make_room();
            self.queue.push_any_borrowed(bytes);
            self.keep_bounds();
        }
    }

    /// Bytes that are shared; the stream lets go of them when they are sent.
    #[doc(alias = "qemu_put_buffer_async")]
    pub fn put_shared(&mut self, bytes: Arc<[u8]>) {
        if bytes.is_empty() {
            return;
        }
        if let Err(bytes) = self.queue.push_shared(bytes) {
            self.make_room();
            // An empty queue has room.
            let _ = self.queue.push_shared(bytes);
        }
        self.keep_bounds();
    }

    /// Bytes that the stream takes over; it drops them when they are sent.
    #[doc(alias = "qemu_put_buffer_async")]
    pub fn put_owned<B: AsRef<[u8]> + Send + Sync + 'static>(&mut self, bytes: B) {
        if let Err(bytes) = self.queue.push_owned(Arc::new(bytes)) {
            self.make_room();
            // An empty queue has room.
            let _ = self.queue.push_owned(bytes);
        }
        self.keep_bounds();
    }

    /// Guest memory that stays where it is until it is sent. It may change until then, and what is
    /// sent is what it holds at that moment. Then it is kept or given back.
    #[allow(
        clippy::inline_always,
        reason = "as a call, the slice goes through the stack"
    )]
    #[inline(always)]
    #[doc(alias = "qemu_put_buffer_async")]
    pub fn put_ram(&mut self, memory: RamSlice<'ram>, release: Release) {
        let mark = match release {
            Release::Keep => Mark::Keep,
            Release::AfterSend => Mark::Release,
        };
        if !memory.is_empty() && !self.queue.push_ram(memory, mark) {
            self.put_ram_slowly(memory, mark);
        }
    }

    #[cold]
    #[inline(never)]
    fn put_slowly(&mut self, bytes: Segment<'_>) {
        // The stream keeps its error, and `check` tells it.
        let _ = self.send(bytes, OnWouldBlock::Wait);
    }

    #[cold]
    #[inline(never)]
    fn put_ram_slowly(&mut self, memory: RamSlice<'ram>, mark: Mark) {
        if !self.queue.has_room_for(memory.len()) {
            self.make_room();
        }
        self.queue.push_any_ram(memory, mark);
        self.keep_bounds();
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self) {
        // The stream keeps its error, and `check` tells it.
        let _ = self.send(Segment::default(), OnWouldBlock::Wait);
    }

    /// Sends what waits if it is more than is allowed to wait.
    fn keep_bounds(&mut self) {
        if self.queue.pending() > self.config.max_queued {
            self.make_room();
        }
    }
}

impl<C: WriteChannel, M: Releaser> io::Write for Writer<'_, C, M> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put_bytes(bytes);
        self.check()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(Self::flush(self)?)
    }
}

/// Room in a stream's buffer, to be written to and committed; dropped, it is as if it had never been
/// asked for.
#[derive(Debug)]
#[must_use = "nothing is put until it is committed"]
pub struct Reserved<'w, 'ram> {
    queue: &'w mut SendQueue<'ram>,
    n: usize,
}

impl Reserved<'_, '_> {
    /// The room. What it holds before it is written to is not told.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // It was there when this was made, and nothing else could use it since.
        self.queue.reserve(self.n).unwrap_or_default()
    }

    /// Puts the first `used` bytes of the room; more than all of it is all of it.
    #[inline]
    pub fn commit(self, used: usize) {
        self.queue.commit(used.min(self.n));
    }
}
