//! What every channel has to do. A new one is one more line at the end.

use std::time::Duration;

use vmferry::channel::{ReadChannel, WriteChannel};
use vmferry::stream::{ErrorKind, OnWouldBlock, Reader, ReaderConfig, Writer, WriterConfig};

use crate::flaky::{EIO, Fault, Flaky};
use crate::subjects::*;

/// Bytes of a test, more than any buffer holds.
fn content() -> Vec<u8> {
    (0..400_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

fn patient_writer<C: WriteChannel>(channel: C) -> Writer<'static, C> {
    let config = WriterConfig {
        on_would_block: OnWouldBlock::Wait,
        ..WriterConfig::default()
    };
    Writer::with_config(channel, &config)
}

fn patient_reader<C: ReadChannel>(channel: C) -> Reader<C> {
    let config = ReaderConfig {
        on_would_block: OnWouldBlock::Wait,
        ..ReaderConfig::default()
    };
    Reader::with_config(channel, &config)
}

/// Numbers, small pieces and large ones, until `bytes` are all put.
fn put_all<C: WriteChannel>(writer: &mut Writer<'static, C>, mut bytes: &[u8]) {
    for size in [1, 2, 4, 8, 100, 5000, 70_000].iter().cycle() {
        let (now, later) = bytes.split_at(bytes.len().min(*size));
        match now {
            [] => return,
            &[byte] => writer.put_u8(byte),
            large if large.len() == 5000 => writer.put_owned(large.to_vec()),
            small => writer.put_bytes(small),
        }
        bytes = later;
    }
}

/// Takes all that comes, in pieces of several sizes, until the end.
fn get_all<C: ReadChannel>(reader: &mut Reader<C>) -> vmferry::stream::Result<Vec<u8>> {
    let mut all = Vec::new();
    for size in [3, 8, 4096, 100_000].iter().cycle() {
        let mut piece = vec![0; *size];
        let got = reader.get_up_to(&mut piece)?;
        all.extend_from_slice(&piece[..got]);
        if got < *size {
            break;
        }
    }
    Ok(all)
}

fn what_is_written_is_what_is_read<S: Subject>() {
    let content = content();
    let write = |channel| {
        let mut writer = patient_writer(channel);
        put_all(&mut writer, &content);
        writer.close().unwrap();
    };
    let read = S::pass(write, |channel| {
        get_all(&mut patient_reader(channel)).unwrap()
    });
    assert!(read == content);
}

fn faults_that_pass_change_nothing<S: Subject>() {
    let content = content();
    // A byte at a time takes its time.
    let cases = [
        (Fault::Short(1), 3000),
        (Fault::Short(7), 30_000),
        (Fault::Short(4097), content.len()),
        (Fault::NotReady(1), 3000),
        (Fault::NotReady(5000), content.len()),
    ];
    for (fault, len) in cases {
        let content = &content[..len];
        let write = |channel| {
            let mut writer = patient_writer(Flaky::new(channel, fault));
            put_all(&mut writer, content);
            writer.close().unwrap();
        };
        let read = S::pass(write, |channel| {
            get_all(&mut patient_reader(Flaky::new(channel, fault))).unwrap()
        });
        assert!(read == content, "{fault:?}");
    }
}

fn a_writer_that_fails_at_any_call_has_sent_a_beginning<S: Subject>() {
    let content = &content()[..12_000];
    for call in 1..12 {
        let write = |channel| {
            let mut writer = patient_writer(Flaky::new(channel, Fault::FailsAt(call)));
            put_all(&mut writer, content);
            let error = writer.close().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io(EIO), "call {call}");
        };
        let read = S::pass(write, |channel| {
            get_all(&mut patient_reader(channel)).unwrap()
        });
        assert!(content.starts_with(&read), "call {call}");
        assert_eq!(read.len(), (call - 1) * 1000);
    }
}

fn a_reader_that_fails_at_any_call_gives_only_what_was_sent<S: Subject>() {
    let content = &content()[..6000];
    for call in 1..6 {
        let write = |channel| {
            let mut writer = patient_writer(channel);
            put_all(&mut writer, content);
            // The reader may have gone already.
            let _ = writer.close();
        };
        S::pass(write, |channel| {
            let mut reader = patient_reader(Flaky::new(channel, Fault::FailsAt(call)));
            let mut got = Vec::new();
            let error = loop {
                match reader.get_array::<50>() {
                    Ok(bytes) => got.extend_from_slice(&bytes),
                    Err(error) => break error,
                }
            };
            assert!(content.starts_with(&got));
            assert_eq!(error.kind(), ErrorKind::Io(EIO), "call {call}");
        });
    }
}

fn an_end_at_any_byte_is_told_where_it_is<S: Subject>() {
    let content = &content()[..24];
    for len in 0..content.len() {
        let write = |channel| {
            let mut writer = patient_writer(channel);
            writer.put_bytes(&content[..len]);
            writer.close().unwrap();
        };
        S::pass(write, |channel| {
            let mut reader = patient_reader(channel);
            for _ in 0..len / 8 {
                reader.get_be64().unwrap();
            }
            let error = reader.get_be64().unwrap_err();
            let (wanted, got) = (8, len % 8);
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof { wanted, got });
            assert_eq!(error.at(), (len - got) as u64);
        });
    }
}

fn a_reader_that_waits_is_ended_from_another_thread<S: Subject>() {
    if !S::LIVE {
        return;
    }
    // The writer's end stays open until the reader is through.
    let (over, wait) = std::sync::mpsc::channel::<()>();
    let write = move |channel: S::Writer| {
        let _ = wait.recv();
        drop(channel);
    };
    S::pass(write, |channel| {
        if !channel.capabilities().shutdown {
            drop(over);
            return;
        }
        let mut reader = patient_reader(channel);
        let abort = reader.abort_handle();
        let ended = std::thread::spawn(move || abort.abort());
        let error = reader.get_u8().unwrap_err();
        ended.join().unwrap().unwrap();
        assert_eq!(error.kind(), ErrorKind::Aborted);
        drop(over);
    });
}

fn a_writer_that_waits_is_ended_from_another_thread<S: Subject>() {
    if !S::LIVE {
        return;
    }
    let (over, wait) = std::sync::mpsc::channel::<()>();
    let write = move |channel: S::Writer| {
        let over = over;
        if !channel.capabilities().shutdown {
            drop(over);
            return;
        }
        let mut writer = patient_writer(channel);
        let abort = writer.abort_handle();
        let ended = std::thread::spawn(move || abort.abort());
        // Nobody reads, so sooner or later it waits.
        while writer.check().is_ok() {
            writer.put_bytes(&[7; 10_000]);
        }
        ended.join().unwrap().unwrap();
        assert_eq!(writer.error().unwrap().kind(), ErrorKind::Aborted);
    };
    S::pass(write, |channel| {
        let _ = wait.recv_timeout(Duration::from_secs(60));
        drop(channel);
    });
}

macro_rules! conformance {
    ($($name:ident: $subject:ty;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn what_is_written_is_what_is_read() {
                super::what_is_written_is_what_is_read::<$subject>();
            }

            #[test]
            fn faults_that_pass_change_nothing() {
                super::faults_that_pass_change_nothing::<$subject>();
            }

            #[test]
            fn a_writer_that_fails_at_any_call_has_sent_a_beginning() {
                super::a_writer_that_fails_at_any_call_has_sent_a_beginning::<$subject>();
            }

            #[test]
            fn a_reader_that_fails_at_any_call_gives_only_what_was_sent() {
                super::a_reader_that_fails_at_any_call_gives_only_what_was_sent::<$subject>();
            }

            #[test]
            fn an_end_at_any_byte_is_told_where_it_is() {
                super::an_end_at_any_byte_is_told_where_it_is::<$subject>();
            }

            #[test]
            fn a_reader_that_waits_is_ended_from_another_thread() {
                super::a_reader_that_waits_is_ended_from_another_thread::<$subject>();
            }

            #[test]
            fn a_writer_that_waits_is_ended_from_another_thread() {
                super::a_writer_that_waits_is_ended_from_another_thread::<$subject>();
            }
        }
    )*};
}

conformance! {
    unix: Unix;
    tcp: Tcp;
    vsock_over_an_injected_socket: Injected;
    pipe: Pipe;
    exec: Child;
    std_io: Adapted;
    file: OnDisk;
    memory: InMemory;
}
