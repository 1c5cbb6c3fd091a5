//! Compressed records, both ways.

use proptest::prelude::*;
use vmferry::channel::{Bytes, Memory};
use vmferry::stream::{
    Compressor, Decompressor, ErrorKind, MAX_COMPRESSED_BLOCK, Reader, Staging, Writer,
};

use crate::support::{Mood, Moody, pattern};

/// A page's worth of text, and what zlib itself (1.2.13, level 1) makes of it.
const TEXT: &[u8] = b"a page of text, a page of text, a page of text";
const ZLIB: [u8; 27] = [
    0x78, 0x01, 0x4b, 0x54, 0x28, 0x48, 0x4c, 0x4f, 0x55, 0xc8, 0x4f, 0x53, 0x28, 0x49, 0xad, 0x28,
    0xd1, 0x51, 0x48, 0xc4, 0xcb, 0x07, 0x00, 0x66, 0xd1, 0x0f, 0x81,
];

fn record_of(data: &[u8]) -> Vec<u8> {
    [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], data].concat()
}

fn get(stream: &[u8], room: usize) -> Result<Vec<u8>, ErrorKind> {
    let mut out = vec![0; room];
    let mut reader = Reader::new(Bytes::new(stream));
    match reader.get_compressed(&mut Decompressor::new(), &mut out) {
        Ok(len) => {
            out.truncate(len);
            Ok(out)
        }
        Err(error) => {
            assert!(reader.check().is_err(), "it sticks");
            Err(error.kind())
        }
    }
}

/// Bytes that no compressor makes less of.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| byte()).collect()
}

#[test]
fn a_record_of_the_original_is_understood() {
    assert_eq!(get(&record_of(&ZLIB), TEXT.len()).unwrap(), TEXT);
    assert_eq!(get(&record_of(&ZLIB), 100).unwrap(), TEXT);
}

#[test]
fn whatever_the_level_and_the_block_it_comes_back() {
    let mut decompressor = Decompressor::new();
    let blocks = [
        Vec::new(),
        vec![7],
        vec![0; 4096],
        pattern(4096),
        noise(4096),
        noise(65_536),
        noise(300_000),
    ];
    for level in 0..=9 {
        let mut compressor = Compressor::new(level);
        let (mut writer, mut staging) = (Writer::new(Memory::default()), Staging::default());
        for block in &blocks {
            let len = writer.put_compressed(&mut compressor, block).unwrap();
            assert!(len <= 4 + Compressor::bound(block.len()));
            staging.put_compressed(&mut compressor, block).unwrap();
        }
        let sent = writer.finish().unwrap().0;
        assert!(
            sent == staging.as_bytes(),
            "one state is as good as another"
        );
        let mut reader = Reader::new(Bytes::new(&sent));
        for block in &blocks {
            let mut out = vec![0; block.len()];
            let len = reader.get_compressed(&mut decompressor, &mut out).unwrap();
            assert!(out == *block && len == block.len(), "level {level}");
        }
        reader.expect_end().unwrap();
    }
}

#[test]
fn a_record_that_is_damaged_gives_no_other_bytes() {
    let record = record_of(&ZLIB);
    let mut harmless = 0;
    for bit in 0..8 * ZLIB.len() {
        let mut damaged = record.clone();
        damaged[4 + bit / 8] ^= 1 << (bit % 8);
        match get(&damaged, 100) {
            Ok(out) => {
                assert_eq!(out, TEXT);
                harmless += 1;
            }
            Err(error) => assert_eq!(error, ErrorKind::Compression),
        }
    }
    // The bits that fill up the last byte before the checksum mean nothing.
    assert!(harmless < 8, "{harmless}");
}

#[test]
fn a_record_that_is_not_just_one_zlib_stream_is_an_error() {
    let short = record_of(&ZLIB[..ZLIB.len() - 1]);
    assert_eq!(get(&short, 100).unwrap_err(), ErrorKind::Compression);
    let long = record_of(&[&ZLIB[..], b"x"].concat());
    assert_eq!(get(&long, 100).unwrap_err(), ErrorKind::Compression);
    assert_eq!(
        get(&record_of(b""), 100).unwrap_err(),
        ErrorKind::Compression
    );
}

#[test]
fn a_record_that_becomes_more_than_there_is_room_for_is_an_error() {
    let room = TEXT.len() - 1;
    assert_eq!(
        get(&record_of(&ZLIB), room).unwrap_err(),
        ErrorKind::Compression
    );
    assert_eq!(
        get(&record_of(&ZLIB), 0).unwrap_err(),
        ErrorKind::Compression
    );
}

#[test]
fn a_length_that_cannot_be_is_refused_before_anything_is_read_for_it() {
    for len in [5000, u32::MAX, 1 << 31] {
        let stream = [&len.to_be_bytes()[..], &ZLIB].concat();
        assert_eq!(get(&stream, 4096).unwrap_err(), ErrorKind::Compression);
    }
}

#[test]
fn a_record_is_taken_whole_or_not_at_all() {
    let record = record_of(&ZLIB);
    let moods = [Mood::UpTo(2), Mood::NotReady, Mood::UpTo(9), Mood::NotReady];
    let mut reader = Reader::new(Moody::new(Bytes::new(&record), moods));
    let mut decompressor = Decompressor::new();
    let mut out = [0; 100];
    for _ in 0..2 {
        let error = reader.get_compressed(&mut decompressor, &mut out);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(reader.position(), 0);
    }
    let len = reader.get_compressed(&mut decompressor, &mut out).unwrap();
    assert_eq!(&out[..len], TEXT);

    let mut cut = Reader::new(Bytes::new(&record[..20]));
    let error = cut.get_compressed(&mut decompressor, &mut out);
    let is_end = matches!(error.unwrap_err().kind(), ErrorKind::UnexpectedEof { .. });
    assert!(is_end);
    assert_eq!(cut.position(), 0);
}

#[test]
fn a_block_that_is_too_large_is_refused_and_does_no_harm() {
    let block = vec![0; MAX_COMPRESSED_BLOCK + 1];
    let mut compressor = Compressor::new(1);
    let mut writer = Writer::new(Memory::default());
    let error = writer.put_compressed(&mut compressor, &block).unwrap_err();
    let (len, max) = (block.len(), MAX_COMPRESSED_BLOCK);
    assert_eq!(error.kind(), ErrorKind::TooLong { len, max });
    assert!(
        Staging::default()
            .put_compressed(&mut compressor, &block)
            .is_err()
    );
    writer.put_compressed(&mut compressor, TEXT).unwrap();
    assert_eq!(get(&writer.finish().unwrap().0, 100).unwrap(), TEXT);
}

proptest! {
    #[test]
    fn any_record_gives_bytes_or_an_error(
        record in proptest::collection::vec(any::<u8>(), 0..200),
        room in 0_usize..300,
    ) {
        if let Ok(out) = get(&record_of(&record), room) {
            prop_assert!(out.len() <= room);
        }
        let _ = get(&record, room);
    }
}
