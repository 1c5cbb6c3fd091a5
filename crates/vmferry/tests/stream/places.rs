//! Offsets: what is not just the next byte.

use std::io::{Seek, SeekFrom, Write};

use vmferry::channel::{Bytes, Duplex, File, Memory, Socket};
use vmferry::stream::{ErrorKind, Reader, Writer};

use crate::support::pattern;

/// A file that starts with `before`, which belongs to somebody else.
fn file(before: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(before).unwrap();
    file
}

fn all_of(file: &std::fs::File) -> Vec<u8> {
    let mut all = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut all, 0).unwrap();
    all
}

#[test]
fn what_is_written_at_an_offset_does_not_move_the_stream() {
    let file = file(b"head");
    let mut writer = Writer::new(File::new(file.try_clone().unwrap()));
    writer.put_bytes(b"ab");
    writer.write_at(b"AT", 6).unwrap();
    writer.put_bytes(b"cd");
    assert_eq!((writer.queued_position(), writer.transferred()), (4, 6));
    writer.finish().unwrap();
    assert_eq!(all_of(&file), b"headabcd\0\0AT");
}

#[test]
fn what_is_read_at_an_offset_does_not_move_the_stream() {
    let bytes = pattern(100_000);
    let file = file(&[&b"head"[..], &bytes].concat());
    let mut reader = Reader::new(File::from_offset(file, 4).unwrap());
    assert_eq!(reader.get_ref(10).unwrap(), &bytes[..10]);
    let mut page = [0; 4096];
    reader.read_at(&mut page, 50_000).unwrap();
    assert_eq!(page, bytes[50_000..54_096]);
    assert_eq!(reader.get_ref(10).unwrap(), &bytes[10..20]);
    assert_eq!(reader.position(), 20);
}

#[test]
fn a_read_at_an_offset_behind_the_end_is_an_error() {
    let mut reader = Reader::new(Bytes::new(b"0123456789"));
    let error = reader.read_at(&mut [0; 4], 8).unwrap_err();
    let (wanted, got) = (4, 2);
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof { wanted, got });
    assert!(
        Reader::new(Bytes::new(b""))
            .read_at(&mut [0], u64::MAX)
            .is_err()
    );
}

#[test]
fn a_channel_without_places_says_so_and_the_stream_goes_on() {
    let (here, there) = Socket::pair().unwrap();
    let (mut writer, mut reader) = (Writer::new(here.split().1), Reader::new(there.split().0));
    writer.put_u8(1);
    let error = writer.write_at(b"AT", 6).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    writer.put_u8(2);
    writer.flush().unwrap();
    let error = reader.read_at(&mut [0], 0).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    assert_eq!(reader.get_array().unwrap(), [1, 2]);
}

#[test]
fn a_writer_goes_on_at_another_place() {
    let file = file(b"head");
    let mut writer = Writer::new(File::new(file.try_clone().unwrap()));
    writer.put_bytes(b"length: ????");
    assert_eq!(writer.seek(SeekFrom::Start(8)).unwrap(), 8);
    writer.put_bytes(b"four");
    assert_eq!(writer.queued_position(), 16, "bytes that were put");
    assert_eq!(writer.stream_position().unwrap(), 12);
    writer.finish().unwrap();
    assert_eq!(all_of(&file), b"headlength: four");
}

#[test]
fn a_reader_goes_on_at_another_place() {
    let mut reader = Reader::new(Bytes::new(b"0123456789"));
    assert_eq!(reader.get_ref(2).unwrap(), b"01");
    // From where the stream is, not from where its window ends.
    assert_eq!(reader.seek(SeekFrom::Current(2)).unwrap(), 4);
    assert_eq!(reader.get_ref(2).unwrap(), b"45");
    assert_eq!(reader.seek(SeekFrom::Start(1)).unwrap(), 1);
    assert_eq!((reader.get_u8().unwrap(), reader.position()), (b'1', 2));
    assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 9);
    assert_eq!(reader.get_u8().unwrap(), b'9');
    assert!(reader.at_end().unwrap());
    reader.seek(SeekFrom::Start(9)).unwrap();
    assert!(!reader.at_end().unwrap(), "the end was elsewhere");
    assert!(reader.seek(SeekFrom::Current(-20)).is_err());
}

#[test]
fn a_place_before_the_start_of_the_stream_belongs_to_somebody_else() {
    let file = file(b"head0123456789");
    let mut reader = Reader::new(File::from_offset(file, 4).unwrap());
    assert_eq!(reader.get_ref(2).unwrap(), b"01");
    assert!(reader.seek(SeekFrom::Current(-3)).is_err());
    assert_eq!(reader.get_ref(2).unwrap(), b"23", "and it is where it was");
    assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 9);
}

#[test]
fn memory_has_places_too() {
    let mut writer = Writer::new(Memory::default());
    writer.put_bytes(b"abc");
    writer.write_at(b"X", 5).unwrap();
    assert_eq!(writer.finish().unwrap().0, b"abc\0\0X");
}
