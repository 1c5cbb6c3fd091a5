//! The queue by itself: what it is given is what it sends.

use std::io;

use super::*;

/// Takes at most `limit` bytes.
fn collect(out: &mut Vec<u8>, limit: usize) -> impl FnOnce(&[Segment<'_>]) -> io::Result<usize> {
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
    assert_eq!(
        queue
            .send(Segment::new(b"end"), collect(&mut out, 1000))
            .unwrap(),
        3
    );
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
        of_more += queue
            .send(Segment::new(&b"++"[of_more..]), collect(&mut out, 1))
            .unwrap();
    }
    assert_eq!(out, b"head0123456789tail++");
}

#[test]
fn what_is_put_between_partial_sends_comes_last() {
    let mut queue = SendQueue::new(64, 8, 1000);
    assert!(queue.push_array(*b"abcd"));
    let mut out = Vec::new();
    queue
        .send(Segment::default(), collect(&mut out, 2))
        .unwrap();
    assert!(queue.push_array(*b"efgh"));
    queue
        .send(Segment::default(), collect(&mut out, 3))
        .unwrap();
    assert_eq!(queue.pending(), 3);
    queue
        .send(Segment::default(), collect(&mut out, 100))
        .unwrap();
    assert_eq!(out, b"abcdefgh");
}

#[test]
fn however_often_a_send_takes_nothing_the_queue_keeps_within_its_slots() {
    let mut queue = SendQueue::new(64, 2, 1000);
    let not_ready = || Err(io::ErrorKind::WouldBlock.into());
    for _ in 0..20 {
        assert!(queue.push_array(*b"ab"));
        assert!(queue.send(Segment::default(), |_| not_ready()).is_err());
    }
    let mut out = Vec::new();
    queue
        .send(Segment::new(b"!"), collect(&mut out, 1000))
        .unwrap();
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
fn parts_of_one_memory_become_one_piece_by_whatever_its_address_is_called() {
    let bytes = [7; 64];
    let part = |origin: usize, from: usize| {
        let origin = ptr::without_provenance(origin);
        // SAFETY: borrowed for longer than it is used, and never changed.
        unsafe { RamSlice::from_raw_part(origin, bytes[from..].as_ptr(), 8) }
    };
    let mut queue = SendQueue::new(64, 16, 1000);
    assert!(queue.push_ram(part(1, 0), Mark::Release));
    assert!(queue.push_ram(part(1, 8), Mark::Release));
    assert_eq!(queue.count, 1);
    assert!(queue.push_ram(part(2, 16), Mark::Release));
    assert_eq!(queue.count, 2, "side by side, but of another memory");
}

#[test]
fn guest_memory_is_copied_as_it_is_when_it_is_put() {
    let mut bytes = *b"before";
    let mut queue = SendQueue::new(8, 4, 100);
    assert!(queue.push_ram_copy(ram(&bytes)));
    assert!(!queue.push_ram_copy(ram(&bytes)), "two bytes are left");
    bytes.copy_from_slice(b"after!");
    assert!(queue.push_ram_copy(ram(&bytes[..2])));
    let mut out = Vec::new();
    queue
        .send(Segment::default(), collect(&mut out, 100))
        .unwrap();
    assert_eq!(out, b"beforeaf");
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
    queue
        .send(Segment::default(), collect(&mut out, 100))
        .unwrap();
    assert_eq!(out, b"abcde");
}

#[test]
fn a_send_that_panics_leaves_the_first_segment_whole() {
    let mut queue = SendQueue::new(64, 8, 100);
    assert!(queue.push_array(*b"abcd"));
    let mut out = Vec::new();
    queue
        .send(Segment::default(), collect(&mut out, 1))
        .unwrap();
    let call =
        std::panic::AssertUnwindSafe(|| queue.send(Segment::new(b"gone"), |_| panic!("as told")));
    assert!(std::panic::catch_unwind(call).is_err());
    queue
        .send(Segment::default(), collect(&mut out, 100))
        .unwrap();
    assert_eq!(out, b"abcd");
}

#[test]
fn a_channel_that_claims_to_have_taken_too_much_is_not_believed() {
    let mut queue = SendQueue::new(64, 8, 100);
    assert!(queue.push_array(*b"abcd"));
    assert!(queue.send(Segment::new(b"ef"), |_| Ok(7)).is_err());
    let mut out = Vec::new();
    assert_eq!(
        queue
            .send(Segment::new(b"ef"), collect(&mut out, 6))
            .unwrap(),
        2
    );
    assert_eq!(out, b"abcdef");
}

/// Not under Miri, which looks for memory that is left behind.
#[cfg(not(miri))]
#[test]
fn a_queue_that_the_kernel_reads_leaves_its_memory_in_place() {
    for in_use in [false, true] {
        let shared: Arc<[u8]> = Arc::from(&b"bytes"[..]);
        let mut queue = SendQueue::new(64, 8, 100);
        queue.push_shared(Arc::clone(&shared)).unwrap();
        if in_use {
            queue.is_read_by_kernel();
        }
        drop(queue);
        assert_eq!(Arc::strong_count(&shared) > 1, in_use);
    }
}

#[test]
fn nothing_at_all_takes_no_slot() {
    let mut queue = SendQueue::new(64, 2, 100);
    for _ in 0..10 {
        assert!(queue.push_owned(Arc::new(Vec::new())).is_ok());
    }
    assert_eq!(queue.count, 0);
}
