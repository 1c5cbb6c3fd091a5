//! Descriptors in stream order.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use vmferry::channel::{Duplex, Socket, SocketReader, SocketWriter};
use vmferry::stream::{ErrorKind, Reader, ReaderConfig, Writer};

use crate::conformance::tcp_pair;

fn streams(descriptors: usize) -> (Writer<'static, SocketWriter>, Reader<SocketReader>) {
    let (here, there) = Socket::pair().unwrap();
    let config = ReaderConfig {
        descriptors,
        ..ReaderConfig::default()
    };
    let reader = Reader::with_config(there.split().0, &config);
    (Writer::new(here.split().1), reader)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).unwrap()
}

/// Reads a pipe to its end, which comes when every descriptor of its other end is closed.
fn to_its_end(pipe: OwnedFd) -> Vec<u8> {
    let mut all = Vec::new();
    std::fs::File::from(pipe).read_to_end(&mut all).unwrap();
    all
}

#[test]
fn a_descriptor_comes_between_what_was_put_before_and_after_it() {
    let (mut writer, mut reader) = streams(4);
    let (one_rx, one_tx) = pipe();
    let (two_rx, two_tx) = pipe();
    writer.put_be32(1);
    writer.put_descriptor(one_tx.as_fd()).unwrap();
    writer.put_be32(2);
    writer.put_bytes(&[9; 1000]);
    writer.put_descriptor(two_tx.as_fd()).unwrap();
    writer.put_be32(3);
    assert_eq!(writer.queued_position(), 4 + 1 + 4 + 1000 + 1 + 4);
    writer.flush().unwrap();
    drop((one_tx, two_tx));

    assert_eq!(reader.get_be32().unwrap(), 1);
    let one = reader.take_descriptor().unwrap();
    assert_eq!(reader.get_be32().unwrap(), 2);
    assert_eq!(reader.get_ref(1000).unwrap(), [9; 1000]);
    let two = reader.take_descriptor().unwrap();
    assert_eq!(reader.get_be32().unwrap(), 3);
    rustix::io::write(&one, b"one").unwrap();
    rustix::io::write(&two, b"two").unwrap();
    drop((one, two));
    assert_eq!(to_its_end(one_rx), b"one");
    assert_eq!(to_its_end(two_rx), b"two");
}

#[test]
fn several_descriptors_in_a_row_come_in_their_order() {
    let (mut writer, mut reader) = streams(8);
    let pipes: Vec<_> = (0..5).map(|_| pipe()).collect();
    for (_, tx) in &pipes {
        writer.put_descriptor(tx.as_fd()).unwrap();
    }
    for number in 0..5_u8 {
        let tx = reader.take_descriptor().unwrap();
        rustix::io::write(&tx, &[number]).unwrap();
    }
    for (number, (rx, tx)) in pipes.into_iter().enumerate() {
        drop(tx);
        assert_eq!(to_its_end(rx), [u8::try_from(number).unwrap()]);
    }
}

#[test]
fn a_descriptor_that_is_not_there_is_an_error() {
    let (mut writer, mut reader) = streams(4);
    writer.put_u8(0);
    writer.flush().unwrap();
    let error = reader.take_descriptor().unwrap_err();
    assert_eq!((error.kind(), error.at()), (ErrorKind::NoDescriptor, 0));
    assert!(reader.get_u8().is_err(), "it sticks");
}

#[test]
fn a_descriptor_that_nobody_takes_is_closed() {
    let (mut writer, mut reader) = streams(1);
    let (rx, tx) = pipe();
    let (other_rx, other_tx) = pipe();
    writer.put_descriptor(tx.as_fd()).unwrap();
    writer.put_descriptor(other_tx.as_fd()).unwrap();
    drop((tx, other_tx));
    // Its byte, without it; then the next one comes, and there is room for only one.
    reader.get_u8().unwrap();
    let taken = reader.take_descriptor().unwrap();
    assert_eq!(to_its_end(rx), b"");
    drop((taken, reader));
    assert_eq!(to_its_end(other_rx), b"");
}

#[test]
fn descriptors_that_pile_up_are_an_error_and_are_closed() {
    let (mut writer, mut reader) = streams(2);
    let (rx, tx) = pipe();
    for _ in 0..3 {
        writer.put_descriptor(tx.as_fd()).unwrap();
    }
    drop(tx);
    let error = reader.peek(3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyDescriptors);
    drop(reader);
    assert_eq!(to_its_end(rx), b"");
}

#[test]
fn a_reader_that_wants_no_descriptors_gets_the_bytes_alone() {
    let (mut writer, mut reader) = streams(0);
    let (rx, tx) = pipe();
    writer.put_be16(1);
    writer.put_descriptor(tx.as_fd()).unwrap();
    writer.put_be16(2);
    writer.flush().unwrap();
    drop(tx);
    assert_eq!(reader.get_array::<5>().unwrap(), [0, 1, 0, 0, 2]);
    assert_eq!(to_its_end(rx), b"");
}

#[test]
fn a_channel_that_passes_no_descriptors_says_so_and_goes_on() {
    let (here, there) = tcp_pair();
    let mut writer = Writer::new(here.split().1);
    let config = ReaderConfig {
        descriptors: 4,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::with_config(there.split().0, &config);
    let (rx, _tx) = pipe();
    writer.put_u8(1);
    let error = writer.put_descriptor(rx.as_fd()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    writer.put_u8(2);
    writer.flush().unwrap();
    let error = reader.take_descriptor().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    assert_eq!(reader.get_array().unwrap(), [1, 2]);
}
