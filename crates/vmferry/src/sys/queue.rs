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

use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;

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
    marked: Vec<usize>,
    /// Keeps the memory of segments alive.
    owners: Vec<Owner>,
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

/// Keeps memory in place for as long as it waits. `Arc`, unlike `Box`, makes no claim to be the only
/// way to what it holds, so pointers into it stay good while it is moved about.
enum Owner {
    Shared { _bytes: Arc<[u8]> },
    Owned { _value: Arc<dyn Send + Sync> },
}

impl<'ram> SendQueue<'ram> {
    /// A queue with `buffer` bytes for what is copied, that takes at most `max_segments` pieces and
    /// `max_queued` bytes.
    pub(crate) fn new(buffer: usize, max_segments: usize, max_queued: usize) -> Self {
        Self {
            buffer: Buffer::new(buffer),
            filled: 0,
            run: 0,
            segments: vec![EMPTY; max_segments + 2].into(),
            count: 0,
            max_segments,
            max_queued,
            referenced: 0,
            last_origin: ptr::null(),
            marked: Vec::new(),
            owners: Vec::new(),
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
    #[inline]
    pub(crate) fn push_ram(&mut self, slice: RamSlice<'ram>, mark: Mark) -> bool {
        if self.pending() + slice.len > self.max_queued {
            return false;
        }
        self.push_any_ram(slice, mark)
    }

    /// As [`push_ram`](Self::push_ram), however many bytes it is.
    #[inline]
    pub(crate) fn push_any_ram(&mut self, slice: RamSlice<'ram>, mark: Mark) -> bool {
        if self.extends_last(&slice, mark) {
            let last = &mut self.segments[self.count - 1];
            *last = Segment::from_parts(last.as_ptr(), last.len() + slice.len);
            self.referenced += slice.len;
            return true;
        }
        if !self.push_segment(Segment::from_parts(slice.ptr, slice.len)) {
            return false;
        }
        self.last_origin = slice.origin;
        if mark == Mark::Release {
            self.marked.push(self.count - 1);
        }
        true
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
        self.push_segment(Segment::new(bytes))
    }

    /// Refers to shared bytes and keeps them alive, however many they are; gives them back if they
    /// are one piece too many.
    pub(crate) fn push_shared(&mut self, bytes: Arc<[u8]>) -> Result<(), Arc<[u8]>> {
        // A reference to the bytes would have to live as long as the queue.
        if !self.push_segment(Segment::from_parts(bytes.as_ptr(), bytes.len())) {
            return Err(bytes);
        }
        self.owners.push(Owner::Shared { _bytes: bytes });
        Ok(())
    }

    /// Takes bytes over, however many they are; gives them back if they are one piece too many.
    pub(crate) fn push_owned<B>(&mut self, value: Arc<B>) -> Result<(), Arc<B>>
    where
        B: AsRef<[u8]> + Send + Sync + 'static,
    {
        // Asked for once: a later call might answer with something else.
        let bytes: &[u8] = (*value).as_ref();
        if !self.push_segment(Segment::from_parts(bytes.as_ptr(), bytes.len())) {
            return Err(value);
        }
        self.owners.push(Owner::Owned { _value: value });
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

    /// Hands what waits, and `more` behind it, to `send`, which tells how many bytes it took. The
    /// answer is how many of them were of `more`.
    pub(crate) fn send(
        &mut self,
        more: &[u8],
        send: impl FnOnce(&[Segment<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.close_run();
        let mut count = self.count;
        if !more.is_empty() {
            // Behind `count`, so it is forgotten with this call.
            self.segments[count] = Segment::from_parts(more.as_ptr(), more.len());
            count += 1;
        }
        let whole = Whole::trim(self);
        let sent = send(&whole.0.segments[whole.0.first..count]);
        drop(whole);
        let of_more = self.advance(sent?);
        Ok(of_more.min(more.len()))
    }

    /// The guest memory that is to be given back, in stream order.
    pub(crate) fn marked(&self) -> impl Iterator<Item = RamSlice<'ram>> + '_ {
        self.marked.iter().map(|index| {
            let segment = &self.segments[*index];
            // SAFETY: only `push_any_ram` marks a segment, so it stands for memory for which the
            // maker of a `RamSlice` has given the promise of `from_raw`.
            unsafe { RamSlice::from_raw(segment.as_ptr(), segment.len()) }
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
        self.owners.clear();
        self.first = 0;
        self.skip = 0;
        self.taken = 0;
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

    /// Puts a segment behind what waits; `false` if there is no slot for it and for the run before.
    #[inline]
    fn push_segment(&mut self, segment: Segment<'ram>) -> bool {
        if self.count + 2 > self.max_segments {
            return false;
        }
        self.close_run();
        self.segments[self.count] = segment;
        self.count += 1;
        self.referenced += segment.len();
        self.last_origin = ptr::null();
        true
    }

    /// Whether `slice` goes on where the last segment ends, in the same slice of guest memory, and
    /// is to be treated as that is.
    #[inline]
    fn extends_last(&self, slice: &RamSlice<'ram>, mark: Mark) -> bool {
        self.last_origin == slice.origin
            && self.run == self.filled
            && self.count > 0
            && self.segments[self.count - 1].end() == slice.ptr
            && (self.marked.last() == Some(&(self.count - 1))) == (mark == Mark::Release)
    }

    /// The channel has taken `n` more bytes; tells how many of them were not the queue's.
    fn advance(&mut self, mut n: usize) -> usize {
        if n >= self.pending() {
            // The usual case, without a look at every segment.
            let beyond = n - self.pending();
            self.taken = self.queued();
            self.first = self.count;
            self.skip = 0;
            return beyond;
        }
        self.taken += n;
        while n > 0 {
            let left = self.segments[self.first].len() - self.skip;
            if n < left {
                self.skip += n;
                return 0;
            }
            n -= left;
            self.first += 1;
            self.skip = 0;
        }
        0
    }
}

/// The queue while its first segment is shortened by what was taken of it; whole again at the end.
struct Whole<'q, 'ram>(&'q mut SendQueue<'ram>, Segment<'ram>);

impl<'q, 'ram> Whole<'q, 'ram> {
    fn trim(queue: &'q mut SendQueue<'ram>) -> Self {
        let first = queue.segments[queue.first];
        if queue.skip > 0 {
            queue.segments[queue.first] = first.skip(queue.skip);
        }
        Self(queue, first)
    }
}

impl Drop for Whole<'_, '_> {
    fn drop(&mut self) {
        if self.0.skip > 0 {
            self.0.segments[self.0.first] = self.1;
        }
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

/// Initialised memory that is reached through a raw pointer alone.
struct Buffer {
    ptr: NonNull<u8>,
    capacity: usize,
}

impl Buffer {
    fn new(capacity: usize) -> Self {
        let bytes: Box<[u8]> = vec![0; capacity].into();
        Self {
            // `Box::into_raw` never gives null.
            ptr: NonNull::new(Box::into_raw(bytes).cast()).unwrap_or(NonNull::dangling()),
            capacity,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = ptr::slice_from_raw_parts_mut(self.ptr.as_ptr(), self.capacity);
        // SAFETY: `new` took it apart from a box of this length, and nobody else frees it.
        drop(unsafe { Box::from_raw(bytes) });
    }
}

const EMPTY: Segment<'static> = Segment::from_parts(NonNull::dangling().as_ptr(), 0);

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most `limit` bytes.
    fn collect(
        out: &mut Vec<u8>,
        limit: usize,
    ) -> impl FnOnce(&[Segment<'_>]) -> io::Result<usize> {
        move |segments| {
            let before = out.len();
            for segment in segments {
                segment.append_to(out);
            }
            out.truncate(before + limit);
            Ok(out.len() - before)
        }
    }

    fn ram(bytes: &[u8]) -> RamSlice<'_> {
        RamSlice::from_slice(bytes)
    }

    #[test]
    fn copied_and_referenced_bytes_go_out_in_the_order_in_which_they_came() {
        let (one, two) = (*b"ONE", *b"TWO");
        let mut queue = SendQueue::new(64, 8, 1000);
        assert!(queue.push_array(*b"ab"));
        assert!(queue.push_borrowed(&one));
        assert!(queue.push_bytes(b"cd"));
        assert!(queue.push_array(*b"e"));
        assert!(queue.push_ram(ram(&two), Mark::Keep));
        assert!(queue.push_array(*b"f"));
        queue.push_shared(Arc::from(&b"GH"[..])).unwrap();
        queue.push_owned(Arc::new(b"IJ".to_vec())).unwrap();
        let mut out = Vec::new();
        assert_eq!(queue.send(b"end", collect(&mut out, 1000)).unwrap(), 3);
        assert_eq!(out, b"abONEcdeTWOfGHIJend");
        assert_eq!(queue.pending(), 0);
    }

    #[test]
    fn a_send_that_takes_one_byte_at_a_time_loses_nothing_and_repeats_nothing() {
        let page = *b"0123456789";
        let mut queue = SendQueue::new(64, 8, 1000);
        assert!(queue.push_array(*b"head"));
        assert!(queue.push_ram(ram(&page), Mark::Keep));
        assert!(queue.push_array(*b"tail"));
        let mut out = Vec::new();
        let mut of_more = 0;
        while queue.pending() > 0 || of_more < 2 {
            of_more += queue.send(&b"++"[of_more..], collect(&mut out, 1)).unwrap();
        }
        assert_eq!(out, b"head0123456789tail++");
    }

    #[test]
    fn what_is_put_between_partial_sends_comes_last() {
        let mut queue = SendQueue::new(64, 8, 1000);
        assert!(queue.push_array(*b"abcd"));
        let mut out = Vec::new();
        queue.send(&[], collect(&mut out, 2)).unwrap();
        assert!(queue.push_array(*b"efgh"));
        queue.send(&[], collect(&mut out, 3)).unwrap();
        assert_eq!(queue.pending(), 3);
        queue.send(&[], collect(&mut out, 100)).unwrap();
        assert_eq!(out, b"abcdefgh");
    }

    #[test]
    fn however_often_a_send_takes_nothing_the_queue_keeps_within_its_slots() {
        let mut queue = SendQueue::new(64, 2, 1000);
        let not_ready = || Err(io::ErrorKind::WouldBlock.into());
        for _ in 0..20 {
            assert!(queue.push_array(*b"ab"));
            assert!(queue.send(&[], |_| not_ready()).is_err());
        }
        let mut out = Vec::new();
        queue.send(b"!", collect(&mut out, 1000)).unwrap();
        assert_eq!(out, [&b"ab".repeat(20)[..], b"!"].concat());
    }

    #[test]
    fn parts_of_one_slice_become_one_piece_and_neighbours_of_another_do_not() {
        let bytes = [7; 64];
        let whole = ram(&bytes);
        let part = |range| whole.subslice(range).unwrap();
        let mut queue = SendQueue::new(64, 16, 1000);
        assert!(queue.push_ram(part(0..8), Mark::Keep));
        assert!(queue.push_ram(part(8..16), Mark::Keep));
        assert_eq!(queue.count, 1, "the same slice goes on");
        assert!(queue.push_ram(ram(&bytes[16..24]), Mark::Keep));
        assert_eq!(queue.count, 2, "a neighbour, but another slice");
        assert!(queue.push_ram(part(24..32), Mark::Release));
        assert!(queue.push_ram(part(32..40), Mark::Release));
        assert_eq!(queue.count, 3);
        assert!(queue.push_ram(part(40..48), Mark::Keep));
        assert_eq!(queue.count, 4, "to be kept, where the last is given back");
        assert!(queue.push_array(*b"x"));
        assert!(queue.push_ram(part(48..56), Mark::Keep));
        assert_eq!(queue.count, 6, "copied bytes in between");
        let marked: Vec<_> = queue.marked().map(|slice| slice.len()).collect();
        assert_eq!(marked, [16]);
    }

    #[test]
    fn a_queue_refuses_what_is_beyond_its_bounds() {
        let bytes = [1; 32];
        let mut queue = SendQueue::new(8, 4, 20);
        assert!(queue.push_array([0; 8]));
        assert!(!queue.push_array([0; 1]), "the buffer is full");
        assert!(!queue.push_bytes(b"x"));
        assert!(queue.reserve(1).is_none());
        assert!(!queue.push_borrowed(&bytes[..13]), "13 bytes, and 8 wait");
        assert!(queue.push_borrowed(&bytes[..2]));
        assert!(queue.push_borrowed(&bytes[..2]));
        assert!(!queue.push_borrowed(&bytes[..2]), "four pieces");
        assert!(queue.push_shared(Arc::from(&bytes[..2])).is_err());
        queue.reset();
        assert!(queue.push_array([0; 8]));
    }

    #[test]
    fn room_that_was_reserved_counts_as_far_as_it_was_used() {
        let mut queue = SendQueue::new(8, 4, 100);
        assert!(queue.push_array(*b"ab"));
        queue.reserve(6).unwrap()[..3].copy_from_slice(b"cde");
        queue.commit(3);
        let mut out = Vec::new();
        queue.send(&[], collect(&mut out, 100)).unwrap();
        assert_eq!(out, b"abcde");
    }

    #[test]
    fn a_send_that_panics_leaves_the_first_segment_whole() {
        let mut queue = SendQueue::new(64, 8, 100);
        assert!(queue.push_array(*b"abcd"));
        let mut out = Vec::new();
        queue.send(&[], collect(&mut out, 1)).unwrap();
        let call = std::panic::AssertUnwindSafe(|| queue.send(b"gone", |_| panic!("as told")));
        assert!(std::panic::catch_unwind(call).is_err());
        queue.send(&[], collect(&mut out, 100)).unwrap();
        assert_eq!(out, b"abcd");
    }
}
