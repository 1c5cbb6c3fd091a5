//! What waits to be sent, in the form in which the kernel takes it.
//!
//! Copied bytes lie in one buffer, and everything that waits, copied or referred to, stands in one
//! array of iovecs in stream order, which goes to `writev` as it is. So the array points into the
//! queue's own buffer, which safe Rust cannot say; and keeping it in that form is what makes a page
//! by reference cost 2 ns instead of the 20 ns of building the array when it is sent.
//!
//! ```text
//! buffer    | 8 bytes | 8 bytes | 8 by...          |
//!             ^         ^         run      filled
//! segments  [ *buffer, page, *buffer+8, page ]  and then the run, once it is closed
//!                       first,skip: what the channel has taken of them
//! ```

mod buffer;
mod send;
#[cfg(test)]
mod tests;

use std::ptr;
use std::sync::Arc;

use self::buffer::{Buffer, Owner};
use super::{RamSlice, Segment};

/// Bytes and pieces of memory in the order in which they are to be sent.
pub(crate) struct SendQueue<'ram> {
    buffer: Buffer,
    /// Bytes of the buffer that are in use.
    filled: usize,
    /// The bytes of the buffer from here to `filled` have no segment yet.
    run: usize,
    /// `segments[..count]` wait. Two slots more than `max_segments`: one for the last run, one for
    /// what is sent behind the queue.
    segments: Box<[Segment<'ram>]>,
    count: usize,
    max_segments: usize,
    max_queued: usize,
    /// Bytes in segments that are not in the buffer.
    referenced: usize,
    /// What the last segment is a part of, and so can be extended by: the origin of a slice, or our
    /// buffer, or null.
    last_origin: *const u8,
    /// The segments of memory that is to be given back once it is sent.
    marked: Vec<Marked>,
    /// The channel has taken everything before `segments[first]`, and `skip` bytes of that.
    first: usize,
    skip: usize,
    taken: usize,
}

// SAFETY: the raw pointers are to the queue's own buffer, or to memory for which a `Segment`, which
// is Send, stands; nothing else refers to the buffer.
unsafe impl Send for SendQueue<'_> {}
// SAFETY: nothing is changed through a shared reference.
unsafe impl Sync for SendQueue<'_> {}

/// What happens to guest memory once it is sent, as the queue remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Keep,
    Release,
}

/// A segment of guest memory that is to be given back.
struct Marked {
    segment: usize,
    /// The slice that it is a part of: what was sent in several segments may make a whole page.
    origin: *const u8,
}

impl<'ram> SendQueue<'ram> {
    /// A queue with `buffer` bytes for what is copied, that takes at most `max_segments` pieces and
    /// `max_queued` bytes.
    pub(crate) fn new(buffer: usize, max_segments: usize, max_queued: usize) -> Self {
        Self {
            buffer: Buffer::new(buffer),
            filled: 0,
            run: 0,
            segments: vec![Segment::default(); max_segments + 2].into(),
            count: 0,
            max_segments,
            max_queued,
            referenced: 0,
            last_origin: ptr::null(),
            marked: Vec::new(),
            first: 0,
            skip: 0,
            taken: 0,
        }
    }

    /// Copies a few bytes; `false` if there is no room for them.
    #[inline]
    pub(crate) fn push_array<const N: usize>(&mut self, array: [u8; N]) -> bool {
        if self.buffer.capacity - self.filled < N {
            return false;
        }
        // An array by value is one store. A slice would be checked against both its ends.
        // SAFETY: `filled <= capacity` always, and N more bytes fit; nobody else refers to bytes
        // behind `filled`.
        unsafe {
            let room = self.buffer.ptr.as_ptr().add(self.filled);
            room.cast::<[u8; N]>().write_unaligned(array);
        }
        self.filled += N;
        true
    }

    /// Copies bytes; `false` if there is no room for them.
    #[inline]
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) -> bool {
        if self.buffer.capacity - self.filled < bytes.len() {
            return false;
        }
        // Through a slice of the buffer, all of it would be borrowed, and the segments point there.
        // SAFETY: `filled <= capacity` always, and the bytes fit; `bytes` cannot overlap room to
        // which nobody has a reference.
        unsafe {
            let room = self.buffer.ptr.as_ptr().add(self.filled);
            ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len());
        }
        self.filled += bytes.len();
        true
    }

    /// Copies guest memory; `false` if there is no room for it.
    #[inline]
    pub(crate) fn push_ram_copy(&mut self, slice: RamSlice<'_>) -> bool {
        if self.buffer.capacity - self.filled < slice.len {
            return false;
        }
        // Guest memory is no slice, and the room must not be borrowed, as in `push_bytes`.
        // SAFETY: `filled <= capacity` always, and the bytes fit; the memory is mapped by the promise
        // of the slice's maker, and cannot overlap room to which nobody has a reference.
        unsafe {
            let room = self.buffer.ptr.as_ptr().add(self.filled);
            ptr::copy_nonoverlapping(slice.ptr, room, slice.len);
        }
        self.filled += slice.len;
        true
    }

    /// Room for `n` bytes; what of it is used is told with [`commit`](Self::commit). `None` if
    /// there is not so much.
    pub(crate) fn reserve(&mut self, n: usize) -> Option<&mut [u8]> {
        if self.buffer.capacity - self.filled < n {
            return None;
        }
        // Segments point to the buffer's other bytes, so they must not be borrowed.
        // SAFETY: the room is within the buffer, initialised (zeroed when it was made), and no
        // segment covers bytes behind `filled`.
        Some(unsafe {
            std::slice::from_raw_parts_mut(self.buffer.ptr.as_ptr().add(self.filled), n)
        })
    }

    /// The first `used` bytes of the room that was reserved are part of the stream.
    pub(crate) fn commit(&mut self, used: usize) {
        self.filled += used.min(self.buffer.capacity - self.filled);
    }

    /// Refers to guest memory; `false` if it is one piece, or some bytes, too many.
    #[allow(clippy::inline_always, reason = "as for `push_slice`")]
    #[inline(always)]
    pub(crate) fn push_ram(&mut self, slice: RamSlice<'ram>, mark: Mark) -> bool {
        // Not what is pending: what is copied has a bound of its own, and what was sent in part is
        // looked at when there is nothing else to do.
        if self.referenced + slice.len > self.max_queued {
            return false;
        }
        self.push_slice(slice, mark)
    }

    /// Whether there is room for `n` bytes more, now that what was sent in part is not counted.
    pub(crate) fn has_room_for(&self, n: usize) -> bool {
        self.count + 2 <= self.max_segments && self.pending() + n <= self.max_queued
    }

    /// As [`push_ram`](Self::push_ram), however many bytes it is.
    pub(crate) fn push_any_ram(&mut self, slice: RamSlice<'ram>, mark: Mark) -> bool {
        self.push_slice(slice, mark)
    }

    #[allow(
        clippy::inline_always,
        reason = "as a call, the slice goes through the stack: 3 of the 8 ns of a page"
    )]
    #[inline(always)]
    fn push_slice(&mut self, slice: RamSlice<'ram>, mark: Mark) -> bool {
        if self.run == self.filled && self.extend_last(&slice, mark) {
            return true;
        }
        if !self.push_segment(Segment::from_parts(slice.ptr, slice.len), slice.origin) {
            return false;
        }
        if mark == Mark::Release {
            self.mark_last(slice.origin);
        }
        true
    }

    #[inline(never)]
    fn mark_last(&mut self, origin: *const u8) {
        self.marked.push(Marked {
            segment: self.count - 1,
            origin,
        });
    }

    /// Refers to memory that does not change; `false` if it is one piece, or some bytes, too many.
    #[inline]
    pub(crate) fn push_borrowed(&mut self, bytes: &'ram [u8]) -> bool {
        if self.pending() + bytes.len() > self.max_queued {
            return false;
        }
        self.push_any_borrowed(bytes)
    }

    /// As [`push_borrowed`](Self::push_borrowed), however many bytes they are.
    pub(crate) fn push_any_borrowed(&mut self, bytes: &'ram [u8]) -> bool {
        self.push_segment(Segment::new(bytes), ptr::null())
    }

    /// Refers to shared bytes and keeps them alive, however many they are; gives them back if they
    /// are one piece too many.
    pub(crate) fn push_shared(&mut self, bytes: Arc<[u8]>) -> Result<(), Arc<[u8]>> {
        // A reference to the bytes would have to live as long as the queue.
        if !self.push_segment(
            Segment::from_parts(bytes.as_ptr(), bytes.len()),
            ptr::null(),
        ) {
            return Err(bytes);
        }
        self.buffer.owners.push(Owner::Shared { _bytes: bytes });
        Ok(())
    }

    /// Takes bytes over, however many they are; gives them back if they are one piece too many.
    pub(crate) fn push_owned<B>(&mut self, value: Arc<B>) -> Result<(), Arc<B>>
    where
        B: AsRef<[u8]> + Send + Sync + 'static,
    {
        // Asked for once: a later call might answer with something else.
        let bytes: &[u8] = (*value).as_ref();
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.push_segment(
            Segment::from_parts(bytes.as_ptr(), bytes.len()),
            ptr::null(),
        ) {
            return Err(value);
        }
        self.buffer.owners.push(Owner::Owned { _value: value });
        Ok(())
    }

    /// Bytes that wait.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.filled + self.referenced - self.taken
    }

    /// Bytes in the queue, whether the channel has taken them or not.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.filled + self.referenced
    }

    /// Bytes in the queue that are not in its own buffer.
    pub(crate) fn referenced(&self) -> usize {
        self.referenced
    }

    /// Bytes of the queue that the channel has taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// The kernel may read what the queue refers to, and its own bytes, until it is reset. Dropped
    /// before, it leaves in place what it owns.
    pub(crate) fn is_read_by_kernel(&mut self) {
        self.buffer.in_use = true;
    }

    /// The guest memory that is to be given back, in stream order.
    pub(crate) fn marked(&self) -> impl Iterator<Item = RamSlice<'ram>> + '_ {
        self.marked.iter().map(|marked| {
            let segment = &self.segments[marked.segment];
            // SAFETY: only `push_any_ram` marks a segment, so it stands for memory for which the
            // maker of a `RamSlice` has given the promise of `from_raw`, and is a part of it.
            unsafe { RamSlice::from_raw_part(marked.origin, segment.as_ptr(), segment.len()) }
        })
    }

    /// Whether any memory is to be given back.
    #[inline]
    pub(crate) fn has_marked(&self) -> bool {
        !self.marked.is_empty()
    }

    /// Empties the queue: what it refers to is its owners' again.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.filled = 0;
        self.run = 0;
        self.count = 0;
        self.referenced = 0;
        self.last_origin = ptr::null();
        self.marked.clear();
        self.first = 0;
        self.skip = 0;
        self.taken = 0;
        self.buffer.in_use = false;
        self.buffer.owners.clear();
    }

    /// Gives the run of copied bytes a segment; there is always a slot left for it.
    #[inline]
    fn close_run(&mut self) {
        if self.run < self.filled {
            let len = self.filled - self.run;
            let buffer = self.buffer.ptr.as_ptr().cast_const();
            if self.last_origin == buffer {
                // The last segment is the run before, which a send has closed: it goes on. So
                // however often a channel is not ready, that costs no slots.
                let last = &mut self.segments[self.count - 1];
                *last = Segment::from_parts(last.as_ptr(), last.len() + len);
            } else {
                self.segments[self.count] = Segment::from_parts(buffer.wrapping_add(self.run), len);
                self.count += 1;
                self.last_origin = buffer;
            }
            self.run = self.filled;
        }
    }

    /// Puts a segment, a part of what begins at `origin`, behind what waits; `false` if there is no slot
    /// for it and for the run before.
    #[allow(clippy::inline_always, reason = "as for `push_slice`")]
    #[inline(always)]
    fn push_segment(&mut self, segment: Segment<'ram>, origin: *const u8) -> bool {
        if self.count + 2 > self.max_segments {
            return false;
        }
        self.close_run();
        self.segments[self.count] = segment;
        self.count += 1;
        self.referenced += segment.len();
        self.last_origin = origin;
        true
    }

    /// Lets the last segment go on over `slice`; `false` if `slice` is not what goes on there, in the
    /// same slice of guest memory, and to be treated as that is.
    #[inline]
    fn extend_last(&mut self, slice: &RamSlice<'ram>, mark: Mark) -> bool {
        // Nothing begins at null, so there is a last segment, and it is guest memory.
        if self.last_origin != slice.origin {
            return false;
        }
        let index = self.count - 1;
        let last = &mut self.segments[index];
        if last.as_ptr().wrapping_add(last.len()) != slice.ptr {
            return false;
        }
        let is_marked = self
            .marked
            .last()
            .is_some_and(|marked| marked.segment == index);
        if is_marked != (mark == Mark::Release) {
            return false;
        }
        *last = Segment::from_parts(last.as_ptr(), last.len() + slice.len);
        self.referenced += slice.len;
        true
    }
}

impl std::fmt::Debug for SendQueue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendQueue")
            .field("segments", &self.count)
            .field("copied", &self.filled)
            .field("referenced", &self.referenced)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}
