//! Traps of compressed records.

use vmferry::channel::{Bytes, Memory};
use vmferry::stream::{
    Compressor, Decompressor, ErrorKind, RateLimiter, Reader, Release, Staging, StreamError, Writer,
};

use crate::support::{PAGE, guest};

/// A page of text.
fn text() -> Vec<u8> {
    b"the page of guest memory "
        .iter()
        .copied()
        .cycle()
        .take(PAGE)
        .collect()
}

/// A page that cannot be compressed.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..PAGE).map(|_| byte()).collect()
}

/// The record at the end of `stream`, decompressed.
fn record(stream: &[u8], at: usize) -> Vec<u8> {
    let mut reader = Reader::new(Bytes::new(&stream[at..]));
    let mut page = vec![0; PAGE];
    let len = reader.get_compressed(&mut Decompressor::new(), &mut page);
    assert_eq!(len.unwrap(), PAGE);
    reader.expect_end().unwrap();
    page
}

#[test]
fn a_record_near_the_end_of_the_buffer_is_whole() {
    let mut compressor = Compressor::new(1);
    for filled in (32_760..=32_768).chain([28_000, 31_000]) {
        let mut writer = Writer::new(Memory::default());
        writer.put_bytes(&vec![0; filled]);
        let len = writer.put_compressed(&mut compressor, &text()).unwrap();
        assert_eq!(writer.queued_position(), (filled + len) as u64);
        assert_eq!(record(&writer.finish().unwrap().0, filled), text());
    }
}

#[test]
fn a_record_is_whole_however_many_pieces_wait() {
    let guest = guest(160);
    let mut compressor = Compressor::new(1);
    for pieces in 55..70 {
        let mut writer = Writer::new(Memory::default());
        writer.put_be64(0x1122_3344_5566_7788);
        for piece in 0..pieces {
            let byte = guest.as_ram().subslice(piece * 8192..piece * 8192 + 1);
            writer.put_ram(byte.unwrap(), Release::Keep);
        }
        writer.put_compressed(&mut compressor, &text()).unwrap();
        let sent = writer.finish().unwrap().0;
        let at = 8 + pieces;
        assert_eq!(
            sent[at + 4..at + 6],
            [0x78, 0x01],
            "zlib's header at level 1"
        );
        assert_eq!(record(&sent, at), text());
    }
}

#[test]
fn a_record_counts_with_all_its_bytes() {
    let mut writer = Writer::new(Memory::default());
    let len = writer
        .put_compressed(&mut Compressor::new(1), &noise())
        .unwrap();
    assert!(len > PAGE, "it cannot be compressed");
    assert_eq!(writer.queued_position(), len as u64);

    let limiter = RateLimiter::per_window(len as u64 + 4);
    limiter.start_window(0);
    assert!(!writer.is_held_back(&limiter));
    writer.put_be32(0);
    assert!(!writer.is_held_back(&limiter), "the budget may be used up");
    writer.put_u8(0);
    assert!(writer.is_held_back(&limiter), "and no more than that");
    assert!(writer.is_held_back(&RateLimiter::per_window(8)));
}

#[test]
fn a_failed_stream_takes_no_record() {
    let mut writer = Writer::new(Memory::default());
    writer.fail_with(StreamError::new(ErrorKind::User(5), 0));
    let put = writer.put_compressed(&mut Compressor::new(1), &text());
    assert_eq!(put.unwrap_err().errno(), 5);
    assert!(writer.finish().unwrap_err().channel.0.is_empty());
}

#[test]
fn a_record_in_a_staging_stream_counts_with_all_its_bytes() {
    let mut staging = Staging::default();
    let len = staging
        .put_compressed(&mut Compressor::new(1), &text())
        .unwrap();
    assert_eq!(staging.len(), len);
    assert_eq!(record(staging.as_bytes(), 0), text());
}

#[test]
fn a_block_larger_than_the_buffer_becomes_a_record_all_the_same() {
    let block = noise().repeat(40);
    let mut writer = Writer::new(Memory::default());
    writer.put_u8(9);
    let len = writer
        .put_compressed(&mut Compressor::new(1), &block)
        .unwrap();
    let sent = writer.finish().unwrap().0;
    assert_eq!(sent.len(), 1 + len);
    let mut reader = Reader::new(Bytes::new(&sent[1..]));
    let mut out = vec![0; block.len()];
    reader
        .get_compressed(&mut Decompressor::new(), &mut out)
        .unwrap();
    assert_eq!(out, block);
}
