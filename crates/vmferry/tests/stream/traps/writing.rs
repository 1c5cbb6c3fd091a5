//! Traps of the writing side.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vmferry::channel::{Memory, RamSlice, Segment, WriteChannel};
use vmferry::stream::{
    ErrorKind, RateLimiter, Release, Staging, StreamError, Writer, WriterConfig,
};

use crate::support::{Mood, Moody, PAGE, Recorder, contents, guest};

fn part(ram: RamSlice<'_>, from: usize, len: usize) -> RamSlice<'_> {
    ram.subslice(from..from + len).unwrap()
}

fn user(errno: i32) -> StreamError {
    StreamError::new(ErrorKind::User(errno), 0)
}

#[test]
fn adjacent_pages_wait_only_up_to_a_bound() {
    let guest = guest(256);
    let config = WriterConfig {
        max_queued: 16 * PAGE,
        ..WriterConfig::default()
    };
    let mut writer = Writer::with_config(Recorder::default(), &config);
    for page in 0..256 {
        writer.put_ram(part(guest.as_ram(), page * PAGE, PAGE), Release::Keep);
        assert!(writer.pending() <= 16 * PAGE);
    }
    let sent = writer.finish().unwrap();
    assert_eq!(sent.calls, vec![vec![16 * PAGE]; 16], "each in one piece");
    assert_eq!(sent.bytes, contents(guest.as_ram()));
}

#[test]
fn a_piece_larger_than_the_bound_goes_at_once() {
    let guest = guest(64);
    let config = WriterConfig {
        max_queued: 16 * PAGE,
        ..WriterConfig::default()
    };
    let mut writer = Writer::with_config(Recorder::default(), &config);
    writer.put_u8(1);
    writer.put_ram(guest.as_ram(), Release::Keep);
    assert_eq!(writer.pending(), 0);
    writer.put_shared(contents(guest.as_ram()).into());
    assert_eq!(writer.pending(), 0);
    writer.put_owned(contents(guest.as_ram()));
    assert_eq!(writer.pending(), 0);
    assert_eq!(writer.flushed_position(), 1 + 3 * 64 * PAGE as u64);
}

#[test]
fn nothing_at_all_takes_no_piece() {
    let guest = guest(1);
    let mut writer = Writer::new(Recorder::default());
    writer.put_ram(part(guest.as_ram(), 0, 100), Release::Keep);
    writer.put_ram(part(guest.as_ram(), 100, 0), Release::Keep);
    writer.put_ram(part(guest.as_ram(), 500, 0), Release::AfterSend);
    writer.put_borrowed(b"");
    writer.put_shared(Arc::from(&b""[..]));
    writer.put_owned(Vec::new());
    assert_eq!(writer.finish().unwrap().calls, [[100]]);
}

#[test]
fn neighbours_of_different_owners_stay_apart() {
    let guest = guest(2);
    let ram = guest.as_ram();
    let bytes = [5; 20];
    let (one, other) = bytes.split_at(10);
    let mut writer = Writer::new(Recorder::default());
    writer.put_borrowed(one);
    writer.put_borrowed(other);
    writer.put_ram(part(ram, 0, 8), Release::Keep);
    writer.put_ram(part(ram, 8, 8), Release::Keep);
    writer.put_ram(part(ram, 16, 8), Release::AfterSend);
    assert_eq!(writer.finish().unwrap().calls, [[10, 10, 16, 8]]);
}

#[test]
fn however_many_pieces_wait_no_room_in_the_buffer_is_wasted() {
    let guest = guest(126);
    let mut writer = Writer::new(Recorder::default());
    for piece in 0..62 {
        writer.put_ram(part(guest.as_ram(), piece * 2 * PAGE, 10), Release::Keep);
    }
    writer.put_bytes(&[1; 20_000]);
    writer.put_bytes(&[2; 12_768]);
    assert!(writer.channel().calls.is_empty(), "all of it fits");
    assert_eq!(writer.finish().unwrap().calls.len(), 1);
}

#[test]
fn a_partial_write_is_gone_on_with() {
    let moods = [Mood::UpTo(3), Mood::UpTo(1), Mood::NotReady, Mood::UpTo(2)];
    let mut writer = Writer::new(Moody::new(Memory::default(), moods));
    writer.put_be64(0x0102_0304_0506_0708);
    let error = writer.flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!((writer.flushed_position(), writer.pending()), (4, 4));
    writer.put_be16(0x090a);
    writer.flush().unwrap();
    let sent = writer.finish().unwrap().inner.0;
    assert_eq!(sent, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_channel_that_takes_nothing_is_an_error_and_no_endless_loop() {
    let mut writer = Writer::new(Moody::new(Memory::default(), [Mood::UpTo(0)]));
    writer.put_u8(1);
    assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::WriteZero);
}

#[test]
fn a_channel_that_claims_to_have_taken_too_much_is_an_error() {
    /// Takes more than it was given, or so it says.
    struct Liar;
    impl WriteChannel for Liar {
        fn write_segments(&mut self, segments: &[Segment<'_>]) -> std::io::Result<usize> {
            Ok(segments.iter().map(Segment::len).sum::<usize>() + 1)
        }
    }
    let mut writer = Writer::new(Liar);
    writer.put_be64(1);
    assert!(matches!(
        writer.flush().unwrap_err().kind(),
        ErrorKind::Io(_)
    ));
    assert_eq!(writer.flushed_position(), 0);
}

#[test]
fn a_channel_that_cannot_write_at_all_fails_the_stream() {
    /// Not even writing is supported.
    struct Deaf;
    impl WriteChannel for Deaf {
        fn write_segments(&mut self, _: &[Segment<'_>]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
    }
    let mut writer = Writer::new(Deaf);
    writer.put_bytes(&[0; 100_000]);
    assert!(
        writer.check().is_err(),
        "what was put is lost, so the stream is"
    );
}

#[test]
fn what_is_put_behind_an_error_is_dropped_and_counts_nowhere() {
    const PIPE: i32 = 32;
    let moods = [Mood::UpTo(3), Mood::Fails(PIPE)];
    let mut writer = Writer::new(Moody::new(Memory::default(), moods));
    writer.put_be64(1);
    let error = writer.flush().unwrap_err();
    assert_eq!((error.kind(), error.at()), (ErrorKind::Io(PIPE), 3));
    for _ in 0..100_000 {
        writer.put_be64(2);
    }
    assert_eq!(writer.pending(), 0);
    assert_eq!(
        (writer.flushed_position(), writer.queued_position()),
        (3, 8)
    );
    let failed = writer.finish().unwrap_err();
    assert_eq!(failed.unsent, 5);
    assert_eq!(failed.channel.inner.0, [0, 0, 0]);
    assert_eq!(failed.channel.calls, 2);
}

#[test]
fn what_could_not_be_sent_of_a_large_put_counts_as_unsent() {
    let moods = [Mood::UpTo(40_000), Mood::Fails(32)];
    let mut writer = Writer::new(Moody::new(Memory::default(), moods));
    writer.put_bytes(&[1; 100_000]);
    assert_eq!(writer.finish().unwrap_err().unsent, 60_000);
}

#[test]
fn closing_tells_the_first_error_and_closes_all_the_same() {
    let recorder = Recorder {
        close_error: Some(28),
        ..Recorder::default()
    };
    let closed = Arc::clone(&recorder.closed);
    let mut writer = Writer::new(recorder);
    writer.put_be64(1);
    writer.fail_with(user(22));
    assert_eq!(writer.close().unwrap_err().errno(), 22);
    assert!(closed.load(Ordering::Relaxed));
}

#[test]
fn closing_tells_what_the_channel_says_at_its_end() {
    let recorder = Recorder {
        close_error: Some(28),
        ..Recorder::default()
    };
    let mut writer = Writer::new(recorder);
    writer.put_be64(1);
    let error = writer.close().unwrap_err();
    assert_eq!((error.kind(), error.at()), (ErrorKind::Io(28), 8));
    Writer::new(Recorder::default()).close().unwrap();
}

#[test]
fn nothing_is_sent_once_somebody_has_found_the_stream_wrong() {
    let mut writer = Writer::new(Recorder::default());
    writer.put_be64(1);
    writer.fail_with(user(22));
    writer.put_be64(2);
    writer.fail_with(user(5));
    let failed = writer.finish().unwrap_err();
    assert_eq!(failed.error.errno(), 22, "the first reason stays");
    assert_eq!(failed.unsent, 8);
    assert!(failed.channel.bytes.is_empty());
}

#[test]
fn a_stream_that_has_failed_is_held_back_whatever_its_budget() {
    let limiter = RateLimiter::unlimited();
    let mut writer = Writer::new(Recorder::default());
    assert!(!writer.is_held_back(&limiter));
    writer.fail_with(user(7));
    assert_eq!(writer.error().unwrap().errno(), 7);
    assert!(writer.is_held_back(&limiter));
}

#[test]
fn positions_are_those_put_and_those_taken() {
    let moods = [Mood::UpTo(3), Mood::NotReady];
    let mut writer = Writer::new(Moody::new(Memory::default(), moods));
    writer.put_be64(0);
    assert_eq!(
        (writer.queued_position(), writer.flushed_position()),
        (8, 0)
    );
    assert!(writer.flush().is_err());
    assert_eq!(
        (writer.queued_position(), writer.flushed_position()),
        (8, 3)
    );
    assert_eq!(writer.channel().calls, 2, "a position asks nobody");
    writer.account_external(4096);
    assert_eq!(
        (writer.queued_position(), writer.flushed_position()),
        (8, 3)
    );
    assert_eq!(writer.transferred(), 8 + 4096);
}

#[test]
fn a_counted_string_that_is_too_long_is_refused_and_nothing_is_put() {
    let mut writer = Writer::new(Memory::default());
    let error = writer.put_counted(&[b'x'; 256]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLong { len: 256, max: 255 });
    writer.put_counted(&[b'y'; 255]).unwrap();
    writer.put_counted(b"").unwrap();
    let sent = writer.finish().unwrap().0;
    assert_eq!(sent, [&[255][..], &[b'y'; 255], &[0]].concat());
}

#[test]
fn a_stream_without_a_channel_grows() {
    let mut staging = Staging::default();
    for _ in 0..40_000 {
        staging.put_u8(0xff);
    }
    staging.put_bytes(&[1; 40_000]);
    assert_eq!(staging.len(), 80_000);
    let mut writer = Writer::new(Memory::default());
    writer.put_staged(&mut staging).unwrap();
    let sent = writer.finish().unwrap().0;
    assert_eq!(sent, [[0xff; 40_000], [1; 40_000]].concat());
}

#[test]
fn a_transfer_into_a_failed_stream_keeps_what_was_to_be_put() {
    let mut staging = Staging::default();
    staging.put_u8(3);
    let mut writer = Writer::new(Memory::default());
    writer.fail_with(user(5));
    assert_eq!(writer.put_staged(&mut staging).unwrap_err().errno(), 5);
    assert_eq!(staging.as_bytes(), [3]);

    let mut writer = Writer::new(Moody::new(Memory::default(), [Mood::Fails(5)]));
    staging.put_bytes(&[4; 100_000]);
    assert!(writer.put_staged(&mut staging).is_err());
    assert_eq!(staging.len(), 100_001);
}

#[test]
fn a_writer_that_is_dropped_sends_nothing() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(vmferry::channel::Std::new(&mut bytes));
    writer.put_be64(1);
    drop(writer);
    assert!(bytes.is_empty());
}
