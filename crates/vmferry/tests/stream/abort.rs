//! The end from another thread, at any moment.

use vmferry::channel::{Blocking, Duplex, Socket};
use vmferry::stream::{
    ErrorKind, OnWouldBlock, Reader, ReaderConfig, StreamError, Writer, WriterConfig,
};

const REASON: ErrorKind = ErrorKind::User(125);

/// Counts up until the stream fails, and tells why and how far it came.
fn count_up(writer: &mut Writer<'_, impl vmferry::channel::WriteChannel>) -> (StreamError, u64) {
    let mut number = 0;
    loop {
        for _ in 0..100 {
            writer.put_be64(number);
            number += 1;
        }
        if let Err(error) = writer.flush() {
            return (error, number);
        }
    }
}

/// Checks the count until the stream fails, and tells why and how far it came.
fn check(reader: &mut Reader<impl vmferry::channel::ReadChannel>) -> (StreamError, u64) {
    let mut number = 0;
    loop {
        match reader.get_be64() {
            Ok(got) => assert_eq!(got, number, "never anything that was not put"),
            Err(error) => return (error, number),
        }
        number += 1;
    }
}

/// Aborts a transfer after `turns` turns of others, both sides of it at once.
fn aborted(turns: usize, waiting: Blocking) {
    let (here, there) = Socket::pair().unwrap();
    let (mut tx, mut rx) = (here.split().1, there.split().0);
    tx.set_blocking(waiting);
    rx.set_blocking(waiting);
    let on_would_block = OnWouldBlock::Wait;
    let mut writer = Writer::with_config(
        tx,
        &WriterConfig {
            on_would_block,
            ..WriterConfig::default()
        },
    );
    let mut reader = Reader::with_config(
        rx,
        &ReaderConfig {
            on_would_block,
            ..ReaderConfig::default()
        },
    );
    let abort = writer.abort_handle().and(&reader.abort_handle());
    std::thread::scope(|scope| {
        let written = scope.spawn(|| count_up(&mut writer));
        let read = scope.spawn(|| check(&mut reader));
        // Two who want to end it, for the same reason.
        for abort in [abort.clone(), abort] {
            scope.spawn(move || {
                for _ in 0..turns {
                    std::thread::yield_now();
                }
                abort.abort_with(StreamError::new(REASON, 0)).unwrap();
            });
        }
        let (why, put) = written.join().unwrap();
        assert_eq!(why.kind(), REASON, "not that the transport ended");
        let (why, got) = read.join().unwrap();
        assert_eq!(why.kind(), REASON, "not that the transport ended");
        assert!(got <= put);
    });
    assert_eq!(writer.flush().unwrap_err().kind(), REASON);
    assert_eq!(reader.at_end().unwrap_err().kind(), REASON);
}

#[test]
fn an_abort_at_any_moment_is_what_both_sides_see() {
    for turns in 0..150 {
        aborted(turns, Blocking::AsDescriptor);
    }
}

#[test]
fn an_abort_at_any_moment_ends_those_who_wait_for_a_channel_to_be_ready() {
    for turns in 0..150 {
        aborted(turns, Blocking::Never);
    }
}
