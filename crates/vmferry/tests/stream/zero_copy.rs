//! Sends without copying. On the loopback interface the system copies always, and says so: that is
//! what can be shown here, and it uses all of the way.

use std::sync::mpsc::sync_channel;

use vmferry::channel::{Duplex, ReadChannel, Socket, SocketReader, WriteChannel};
use vmferry::stream::{
    DiscardPrivate, ErrorKind, NoRelease, Reader, Release, Releaser, Writer, WriterConfig,
};

use crate::conformance::tcp_pair;
use crate::support::{PAGE, contents, guest};

fn config() -> WriterConfig {
    WriterConfig {
        zero_copy_min: Some(16 << 10),
        max_queued: 32 << 10,
        ..WriterConfig::default()
    }
}

fn writer<'ram, M: Releaser>(
    releaser: M,
) -> (
    Writer<'ram, vmferry::channel::SocketWriter, M>,
    SocketReader,
) {
    let (here, there) = tcp_pair();
    let channel = here.with_zero_copy().unwrap().split().1;
    assert!(channel.capabilities().zero_copy);
    let writer = Writer::with_releaser(channel, &config(), releaser);
    (writer, there.split().0)
}

/// Reads to the end, in a thread.
fn collect<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    channel: impl ReadChannel + Send + 'scope,
) -> std::thread::ScopedJoinHandle<'scope, Vec<u8>> {
    scope.spawn(move || {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut Reader::new(channel), &mut all).unwrap();
        all
    })
}

#[test]
fn what_was_copied_anyway_is_told_and_then_it_is_given_up() {
    const PAGES: usize = 32;
    let ram = guest(PAGES);
    let (mut writer, reader) = writer(NoRelease);
    let (got, rounds) = std::thread::scope(|scope| {
        let got = collect(scope, reader);
        let mut rounds = 0;
        while !writer.zero_copy_report().given_up {
            assert!(rounds < 100, "{:?}", writer.zero_copy_report());
            rounds += 1;
            for page in 0..PAGES {
                writer.put_be64(page as u64);
                let page = ram.as_ram().subslice(page * PAGE..(page + 1) * PAGE);
                writer.put_ram(page.unwrap(), Release::Keep);
            }
            writer.sync().unwrap();
        }
        let report = writer.zero_copy_report();
        assert!(report.copied_anyway >= 32, "{report:?}");
        // From now on everything goes the ordinary way.
        writer.put_ram(ram.as_ram(), Release::Keep);
        writer.sync().unwrap();
        assert_eq!(writer.zero_copy_report(), report);
        drop(writer.finish().unwrap());
        (got.join().unwrap(), rounds)
    });
    let bytes = contents(ram.as_ram());
    let with_number = |(page, bytes)| [&u64::to_be_bytes(page)[..], bytes].concat();
    let round: Vec<u8> = (0..)
        .zip(bytes.chunks(PAGE))
        .flat_map(with_number)
        .collect();
    assert!(got == [round.repeat(rounds), bytes].concat());
}

#[test]
fn what_the_stream_owns_stays_until_the_system_is_through_with_it() {
    let (mut writer, reader) = writer(NoRelease);
    let owned: Vec<_> = (0..20_u8).map(|i| vec![i; 20 << 10]).collect();
    let got = std::thread::scope(|scope| {
        let got = collect(scope, reader);
        for bytes in &owned {
            writer.put_be32(7);
            writer.put_owned(bytes.clone());
            writer.flush().unwrap();
            // The next numbers must not overwrite those that may still be read.
            writer.put_be32(9);
        }
        drop(writer.finish().unwrap());
        got.join().unwrap()
    });
    let mut reader = Reader::new(vmferry::channel::Bytes::new(&got));
    for bytes in &owned {
        assert_eq!(reader.get_be32().unwrap(), 7);
        assert!(reader.get_ref(bytes.len()).unwrap() == bytes);
        assert_eq!(reader.get_be32().unwrap(), 9);
    }
    assert!(reader.at_end().unwrap());
}

#[test]
fn memory_goes_back_once_the_system_is_through_with_it() {
    const PAGES: usize = 64;
    let ram = guest(PAGES);
    let before = contents(ram.as_ram());
    let (mut writer, reader) = writer(DiscardPrivate);
    let got = std::thread::scope(|scope| {
        let got = collect(scope, reader);
        for page in 0..PAGES {
            let page = ram.as_ram().subslice(page * PAGE..(page + 1) * PAGE);
            writer.put_ram(page.unwrap(), Release::AfterSend);
        }
        writer.sync().unwrap();
        assert_eq!(writer.release_report().released, (PAGES * PAGE) as u64);
        assert!(writer.zero_copy_report().bytes > 0);
        drop(writer.finish().unwrap());
        got.join().unwrap()
    });
    assert!(got == before);
    assert!(contents(ram.as_ram()).iter().all(|byte| *byte == 0));
}

#[test]
fn little_is_copied_as_ever() {
    let ram = guest(3);
    let (mut writer, reader) = writer(NoRelease);
    writer.put_be64(1);
    writer.put_ram(ram.as_ram(), Release::Keep);
    writer.sync().unwrap();
    assert_eq!(writer.zero_copy_report().bytes, 0);
    drop(writer.finish().unwrap());
    drop(reader);
}

#[test]
fn an_abort_ends_it_and_what_the_system_may_read_stays_in_place() {
    let (mut writer, reader) = writer(NoRelease);
    let abort = writer.abort_handle();
    let (started, start) = sync_channel::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            start.recv().unwrap();
            abort.abort().unwrap();
        });
        let mut started = Some(started);
        // Nobody reads: in the end this waits, until it is ended.
        let error = loop {
            writer.put_owned(vec![5; 64 << 10]);
            if let Err(error) = writer.flush() {
                break error;
            }
            if let Some(started) = started.take() {
                started.send(()).unwrap();
            }
        };
        assert_eq!(error.kind(), ErrorKind::Aborted);
    });
    drop((writer, reader));
}

#[test]
fn a_socket_that_cannot_says_so() {
    let (here, _there) = Socket::pair().unwrap();
    assert!(here.with_zero_copy().is_err());
    // A stream that would like to over a channel that cannot copies.
    let (here, there) = Socket::pair().unwrap();
    let mut writer = Writer::with_config(here.split().1, &config());
    let bytes = vec![7; 40 << 10];
    writer.put_borrowed(&bytes);
    writer.sync().unwrap();
    assert_eq!(writer.zero_copy_report().bytes, 0);
    assert!(Reader::new(there.split().0).get_ref(40 << 10).unwrap() == bytes);
}
