//! What has to hold for every kind of channel.

use std::process::Command;
use std::sync::mpsc::sync_channel;

use vmferry::channel::{ReadChannel, WriteChannel};
use vmferry::stream::{ErrorKind, OnWouldBlock, Reader, ReaderConfig, Writer, WriterConfig};

use super::kinds::{Kind, NonBlocking};
use super::sample::{get, get_all, items, put, ram, wire};
use crate::support::{Mood, Moody, pattern};

const RESET: i32 = 104;

/// Small enough to be full now and then.
fn writer<'ram, C: WriteChannel>(channel: C, on_would_block: OnWouldBlock) -> Writer<'ram, C> {
    let config = WriterConfig {
        buffer: 4096,
        max_segments: 6,
        max_queued: 64 << 10,
        on_would_block,
        ..WriterConfig::default()
    };
    Writer::with_config(channel, &config)
}

/// Small enough to be full now and then.
fn reader<C: ReadChannel>(channel: C, on_would_block: OnWouldBlock) -> Reader<C> {
    let config = ReaderConfig {
        window: 16 << 10,
        on_would_block,
        ..ReaderConfig::default()
    };
    Reader::with_config(channel, &config)
}

/// Sends items of `len` bytes by channels of these moods, and sees to it that they arrive.
fn passes<K: Kind>(len: usize, writing: &[Mood], reading: &[Mood], on_would_block: OnWouldBlock) {
    let (items, ram) = (items(len), ram(len));
    let write = |channel| {
        let channel = Moody::new(channel, writing.iter().copied());
        let mut writer = writer(channel, on_would_block);
        put(&mut writer, &items, &ram);
        while let Err(error) = writer.flush() {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert_eq!(on_would_block, OnWouldBlock::Return, "it was to wait");
        }
        assert_eq!(writer.pending(), 0);
        writer.finish().unwrap();
    };
    let read = |channel| {
        let channel = Moody::new(channel, reading.iter().copied());
        let mut reader = reader(channel, on_would_block);
        if K::KEEPS {
            get_all(&mut reader, &items).unwrap();
            assert_eq!(reader.position(), reader.fetched());
        }
        while let Err(error) = reader.expect_end() {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
    };
    K::transfer(write, read);
}

pub(crate) fn what_is_put_arrives<K: Kind>() {
    // More than any buffer of the system between both sides.
    for len in [0, 1, 4096, 1 << 20] {
        passes::<K>(len, &[], &[], OnWouldBlock::Wait);
    }
}

pub(crate) fn few_bytes_at_a_time_are_the_same_bytes<K: Kind>() {
    let single = [Mood::UpTo(1); 500];
    let few: Vec<_> = (0..800).map(|call| Mood::UpTo(1 + call % 37)).collect();
    for (writing, reading) in [(&single[..], &[][..]), (&[], &single), (&few, &few)] {
        passes::<K>(3000, writing, reading, OnWouldBlock::Return);
    }
}

pub(crate) fn a_channel_that_is_not_ready_at_any_call_loses_nothing<K: Kind>() {
    // At each call in turn, and then at every other one.
    for call in 0..24 {
        let mut moods = vec![Mood::UpTo(700); call];
        moods.push(Mood::NotReady);
        passes::<K>(2000, &moods, &moods, OnWouldBlock::Return);
    }
    let moods = [Mood::NotReady, Mood::UpTo(300)].repeat(40);
    passes::<K>(2000, &moods, &moods, OnWouldBlock::Return);
}

pub(crate) fn a_stream_that_waits_is_not_told_of_a_channel_that_is_not_ready<K: Kind>() {
    let moods = [Mood::NotReady, Mood::UpTo(300)].repeat(40);
    passes::<K>(2000, &moods, &moods, OnWouldBlock::Wait);
}

pub(crate) fn an_error_of_a_write_at_any_call_leaves_what_went_before<K: Kind>() {
    let (items, ram) = (items(2000), ram(2000));
    let whole = wire(&items, &ram);
    for call in 0..12 {
        let moods = vec![Mood::UpTo(700); call];
        let write = |channel| {
            let moods = moods.iter().copied().chain([Mood::Fails(RESET)]);
            let mut writer = writer(Moody::new(channel, moods), OnWouldBlock::Return);
            put(&mut writer, &items, &ram);
            assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Io(RESET));
            let sent = writer.flushed_position();
            let mut failed = writer.finish().unwrap_err();
            assert_eq!(failed.error.kind(), ErrorKind::Io(RESET));
            assert_eq!(failed.error.at(), sent);
            assert_eq!(failed.channel.calls, call + 1, "and then no more");
            failed.channel.close().unwrap();
            sent
        };
        let read = |channel| {
            let mut got = vec![0; whole.len()];
            let len = Reader::new(channel).get_up_to(&mut got).unwrap();
            got.truncate(len);
            got
        };
        let (sent, got) = K::transfer(write, read);
        if K::KEEPS {
            assert_eq!(got.len() as u64, sent);
            assert!(whole.starts_with(&got));
        }
    }
}

pub(crate) fn an_error_of_a_read_at_any_call_leaves_what_came_before<K: Kind>() {
    let (items, ram) = (items(2000), ram(2000));
    let whole = wire(&items, &ram);
    for call in 0..12 {
        let moods = vec![Mood::UpTo(700); call];
        let write = |channel| {
            let mut writer = writer(channel, OnWouldBlock::Wait);
            put(&mut writer, &items, &ram);
            // The other side may be gone before everything is there.
            drop(writer.finish());
        };
        let read = |channel| {
            let moods = moods.iter().copied().chain([Mood::Fails(RESET)]);
            let mut reader = reader(Moody::new(channel, moods), OnWouldBlock::Wait);
            let error = get_all(&mut reader, &items).unwrap_err();
            if K::KEEPS {
                assert_eq!(error.kind(), ErrorKind::Io(RESET));
            }
            let calls = reader.channel().calls;
            assert!(reader.get_u8().is_err());
            assert_eq!(reader.channel().calls, calls, "and then no more");
            let (at, fetched) = (reader.position(), reader.fetched());
            let (mut channel, left) = reader.into_parts();
            assert_eq!(left.len() as u64, fetched - at, "what came is not lost");
            channel.moods.clear();
            (usize::try_from(at).unwrap(), left)
        };
        let ((), (at, left)) = K::transfer(write, read);
        if K::KEEPS {
            assert!(whole[at..].starts_with(&left));
        }
    }
}

pub(crate) fn the_end_at_any_byte_is_found_where_it_is_missed<K: Kind>() {
    let (items, ram) = (items(9), ram(9));
    let whole = wire(&items, &ram);
    for end in 0..=whole.len() {
        let write = |channel| {
            let mut writer = Writer::new(channel);
            writer.put_bytes(&whole[..end]);
            writer.close().unwrap();
        };
        let read = |channel| {
            let mut reader = Reader::new(channel);
            for item in &items {
                let before = reader.position();
                let Err(error) = get(&mut reader, item) else {
                    continue;
                };
                let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof { .. });
                assert!(is_end, "{item:?} at {before} of {end}: {error}");
                assert_eq!((reader.position(), error.at()), (before, before));
                return false;
            }
            assert!(reader.at_end().unwrap());
            reader.check().unwrap();
            true
        };
        let ((), is_whole) = K::transfer(write, read);
        assert_eq!(is_whole, K::KEEPS && end == whole.len(), "{end}");
    }
}

pub(crate) fn both_ends_in_one_thread_never_wait<K: NonBlocking>() {
    // More than any buffer of the system between both sides.
    let whole = pattern(16 << 20);
    let (tx, rx) = K::pair();
    let config = WriterConfig {
        max_queued: usize::MAX,
        ..WriterConfig::default()
    };
    let mut writer = Writer::with_config(tx, &config);
    let mut reader = Reader::new(rx);
    writer.put_borrowed(&whole);
    let (mut got, mut was_full) = (Vec::new(), false);
    while got.len() < whole.len() {
        if let Err(error) = writer.flush() {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            was_full = true;
        }
        let mut piece = vec![0; 10_000.min(whole.len() - got.len())];
        while !piece.is_empty() && reader.get_into(&mut piece).is_ok() {
            got.extend_from_slice(&piece);
            piece.truncate(whole.len() - got.len());
        }
        reader.check().unwrap();
    }
    assert!(got == whole);
    assert!(was_full, "it was to be full at least once");
    assert_eq!(reader.get_u8().unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(writer.finish().unwrap());
    while let Err(error) = reader.expect_end() {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        reader.wait(None).unwrap();
    }
}

/// Waits until this thread sleeps, which it does in the call that is to be ended. If it should sleep
/// for another reason, the call ends all the same, only sooner.
fn until_asleep(thread: rustix::thread::Pid) {
    let stat = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
    let sleeps = || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        stat.rsplit(')').next().unwrap().starts_with(" S")
    };
    while !sleeps() {
        std::thread::yield_now();
    }
}

pub(crate) fn an_abort_ends_a_read_that_waits<K: Kind>() {
    let (done, until_done) = sync_channel::<()>(0);
    let write = move |channel: K::Writer| {
        let _ = until_done.recv();
        drop(channel);
    };
    let read = |channel| {
        let mut reader = Reader::new(channel);
        let (abort, thread) = (reader.abort_handle(), rustix::thread::gettid());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                until_asleep(thread);
                abort.abort().unwrap();
            });
            let error = reader.get_u8().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Aborted);
        });
        drop(done);
    };
    K::transfer(write, read);
}

pub(crate) fn an_abort_ends_a_write_that_waits<K: Kind>() {
    let (done, until_done) = sync_channel::<()>(0);
    let write = |channel| {
        let mut writer = Writer::new(channel);
        let (abort, thread) = (writer.abort_handle(), rustix::thread::gettid());
        // More than the system has room for, and nobody reads.
        let bytes = vec![0; 64 << 20];
        std::thread::scope(|scope| {
            scope.spawn(move || {
                until_asleep(thread);
                abort.abort().unwrap();
            });
            writer.put_bytes(&bytes);
            let error = writer.flush().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Aborted);
            assert_eq!(error.at(), writer.flushed_position());
        });
        drop(done);
    };
    let read = move |channel: K::Reader| {
        let _ = until_done.recv();
        drop(channel);
    };
    K::transfer(write, read);
}

pub(crate) fn what_cannot_be_shut_down_says_so_and_the_stream_ends<K: Kind>() {
    let write = |channel| {
        let mut writer = Writer::new(channel);
        let error = writer.abort_handle().abort().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
        writer.put_u8(1);
        assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Aborted);
    };
    let read = |channel| {
        let mut reader = Reader::new(channel);
        let error = reader.abort_handle().abort().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
        assert_eq!(reader.get_u8().unwrap_err().kind(), ErrorKind::Aborted);
    };
    K::transfer(write, read);
}

/// Runs the test again in a process of its own, where nobody else opens descriptors.
pub(crate) fn no_descriptor_is_left_behind<K: Kind>(module: &str) {
    const ALONE: &str = "VMFERRY_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let (_, module) = module.split_once("::").unwrap();
        let test = format!("{module}::no_descriptor_is_left_behind");
        let run = Command::new(std::env::current_exe().unwrap())
            .args([&test, "--exact", "--test-threads=1"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    passes::<K>(100_000, &[], &[], OnWouldBlock::Wait);
    an_error_of_a_write_at_any_call_leaves_what_went_before::<K>();
    an_error_of_a_read_at_any_call_leaves_what_came_before::<K>();
    assert_eq!(open(), before);
}
