//! What only some channels can do.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use vmferry::channel::{Blocking, Duplex, Exec, File, Memory, Null, Socket, WriteChannel};
use vmferry::stream::{ErrorKind, OnWouldBlock, Reader, ReaderConfig, Writer, WriterConfig};

use crate::subjects::tcp_pair;

#[test]
fn nothing_takes_everything_and_ends_at_once() {
    let mut writer = Writer::new(Null);
    writer.put_bytes(&[1; 100_000]);
    writer.finish().unwrap();
    assert!(Reader::new(Null).at_end().unwrap());
}

#[test]
fn a_child_that_fails_is_an_error_of_the_stream_from_it() {
    let child = Exec::reader(Exec::shell("printf 01234567; exit 3")).unwrap();
    let mut reader = Reader::new(child);
    assert_eq!(reader.get_be64().unwrap(), 0x3031_3233_3435_3637);
    let error = reader.get_u8().unwrap_err();
    let chain = format!("{:#}", anyhow_like(&error));
    assert!(chain.contains("exit status: 3"), "{chain}");
}

#[test]
fn a_child_that_fails_is_an_error_of_closing_the_stream_to_it() {
    let child = Exec::writer(Exec::shell("cat > /dev/null; exit 3")).unwrap();
    let mut writer = Writer::new(child);
    writer.put_be64(1);
    let error = writer.close().unwrap_err();
    let chain = anyhow_like(&error);
    assert!(chain.contains("exit status: 3"), "{chain}");
}

/// An error with what caused it.
fn anyhow_like(error: &dyn std::error::Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        chain += &format!(": {error}");
        source = error.source();
    }
    chain
}

#[test]
fn a_file_takes_bytes_at_places_without_moving_the_stream() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = Writer::new(File::create(file.path()).unwrap());
    writer.put_be32(1);
    writer.write_at(b"far", 100).unwrap();
    writer.put_be32(2);
    writer.seek(SeekFrom::Start(50)).unwrap();
    writer.put_u8(3);
    writer.finish().unwrap();

    let mut bytes = Vec::new();
    file.as_file()
        .try_clone()
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes[..8], [0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!((bytes[50], &bytes[100..]), (3, &b"far"[..]));

    let mut reader = Reader::new(File::open(file.path()).unwrap());
    assert_eq!(reader.get_be32().unwrap(), 1);
    let mut far = [0; 3];
    reader.read_at(&mut far, 100).unwrap();
    assert_eq!((&far, reader.get_be32().unwrap()), (b"far", 2));
    reader.seek(SeekFrom::Start(50)).unwrap();
    assert_eq!(reader.get_u8().unwrap(), 3);
}

#[test]
fn a_channel_without_places_says_so_and_goes_on() {
    let (one, _other) = UnixStream::pair().unwrap();
    let mut writer = Writer::new(Socket::from(one).split().1);
    let error = writer.write_at(b"x", 5).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported(_)),
        "{error:?}"
    );
    writer.put_u8(1);
    writer.flush().unwrap();
}

#[test]
fn descriptors_arrive_in_the_order_of_the_bytes_around_them() {
    let (one, other) = UnixStream::pair().unwrap();
    let mut writer = Writer::new(Socket::from(one).split().1);
    let config = ReaderConfig {
        descriptors: 8,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::with_config(Socket::from(other).split().0, &config);
    let files: Vec<_> = (0..3_u8)
        .map(|i| {
            let file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut &file, &[i; 4]).unwrap();
            file
        })
        .collect();
    for (i, file) in (0_u64..).zip(&files) {
        writer.put_be64(i);
        writer.put_descriptor(file.as_fd()).unwrap();
    }
    writer.put_be64(99);
    drop(writer.finish().unwrap());
    for i in 0..3_u8 {
        assert_eq!(reader.get_be64().unwrap(), u64::from(i));
        let mut file = std::fs::File::from(reader.take_descriptor().unwrap());
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [i; 4]);
    }
    assert_eq!(reader.get_be64().unwrap(), 99);
}

#[test]
fn a_descriptor_that_did_not_come_is_an_error() {
    let (one, other) = UnixStream::pair().unwrap();
    let mut writer = Writer::new(Socket::from(one).split().1);
    let config = ReaderConfig {
        descriptors: 8,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::with_config(Socket::from(other).split().0, &config);
    writer.put_u8(0);
    writer.finish().unwrap();
    let error = reader.take_descriptor().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDescriptor);
}

#[test]
fn one_half_that_does_not_wait_leaves_the_other_as_it_is() {
    let (one, other) = UnixStream::pair().unwrap();
    let (mut reader, writer) = Socket::from(one).split();
    reader.set_blocking(Blocking::Never);
    let mut reader = Reader::new(reader);
    assert_eq!(reader.get_u8().unwrap_err().kind(), ErrorKind::WouldBlock);
    // More than the socket holds: the writing half waits for the thread that reads.
    let drain = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        (&other).read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    let mut writer = Writer::new(writer);
    writer.put_bytes(&[1; 3_000_000]);
    drop(writer.finish().unwrap());
    drop(reader);
    assert_eq!(drain.join().unwrap(), 3_000_000);
}

#[test]
fn sockets_that_never_wait_lose_nothing_when_the_streams_wait_for_them() {
    let (one, other) = tcp_pair();
    let (_, mut writer) = Socket::from(one).split();
    let (mut reader, _) = Socket::from(other).split();
    writer.set_blocking(Blocking::Never);
    reader.set_blocking(Blocking::Never);
    let sent: Vec<u8> = (0..2_000_000_u32)
        .map(|i| i.to_le_bytes()[0] ^ 0x5a)
        .collect();
    let expected = sent.clone();
    let writing = std::thread::spawn(move || {
        let config = WriterConfig {
            on_would_block: OnWouldBlock::Wait,
            ..WriterConfig::default()
        };
        let mut writer = Writer::with_config(writer, &config);
        for piece in sent.chunks(10_000) {
            writer.put_bytes(piece);
        }
        writer.close().unwrap();
    });
    let config = ReaderConfig {
        on_would_block: OnWouldBlock::Wait,
        ..ReaderConfig::default()
    };
    let mut got = vec![0; expected.len()];
    Reader::with_config(reader, &config)
        .get_into(&mut got)
        .unwrap();
    writing.join().unwrap();
    assert!(got == expected);
}

#[test]
fn sends_without_copying_are_waited_for_and_tell_that_the_kernel_copied_anyway() {
    let ram: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let (one, other) = tcp_pair();
    let (_, writer) = Socket::from(one).with_zero_copy().unwrap().split();
    let config = WriterConfig {
        zero_copy_min: Some(16 << 10),
        ..WriterConfig::default()
    };
    let mut writer = Writer::with_config(writer, &config);
    let drain = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        (&other).read_to_end(&mut bytes).unwrap();
        bytes
    });
    for piece in ram.chunks(100_000) {
        writer.put_be32(7);
        writer.put_borrowed(piece);
        writer.flush().unwrap();
    }
    writer.sync().unwrap();
    let report = writer.zero_copy_report();
    drop(writer.finish().unwrap());
    let got = drain.join().unwrap();
    for (got, piece) in got.chunks(100_004).zip(ram.chunks(100_000)) {
        assert_eq!(got[..4], [0, 0, 0, 7]);
        assert!(&got[4..] == piece);
    }
    assert!(report.bytes > 0, "{report:?}");
    // On loopback it always does.
    assert!(report.copied_anyway > 0, "{report:?}");
}

#[test]
fn memory_takes_bytes_beyond_its_end() {
    let mut memory = Memory::default();
    memory
        .write_segments_at(&[vmferry::channel::Segment::new(b"x")], 3)
        .unwrap();
    assert_eq!(memory.0, [0, 0, 0, b'x']);
}
