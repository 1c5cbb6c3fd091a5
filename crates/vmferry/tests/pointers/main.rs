//! What stands behind a pointer can do all that it can do without one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod log;

use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use vmferry::channel::{Duplex, Exec, Interest, ReadChannel, Socket, WriteChannel};
use vmferry::load::{Image, Mode, Options, OtherSections, Visitor, load};
use vmferry::postcopy::Observer;
use vmferry::ram::{BlockIndex, PageIndex, PageSource};
use vmferry::save::Outgoing;
use vmferry::stream::{
    ErrorKind, HookedPage, LoadEvent, PunchHole, RamHooks, RamPhase, Reader, ReaderConfig,
    Releaser, Writer,
};
use vmferry::wire::{SliceSource, Source, header};

use log::Log;

#[test]
fn a_boxed_socket_can_be_aborted() {
    let (here, there) = Socket::pair().unwrap();
    let reader: Box<dyn ReadChannel + Send> = Box::new(here.split().0);
    // Of another socket: an abort ends both directions of one.
    let (elsewhere, _its_peer) = Socket::pair().unwrap();
    let writer: Box<dyn WriteChannel + Send> = Box::new(elsewhere.split().1);
    assert!(reader.capabilities().shutdown && writer.capabilities().shutdown);
    assert!(Writer::new(writer).abort_handle().abort().is_ok());
    let mut reader = Reader::new(reader);
    let abort = reader.abort_handle();
    thread::scope(|scope| {
        let read = scope.spawn(|| reader.get_be64());
        abort.abort().expect("a socket can be shut down");
        let error = read.join().unwrap().expect_err("nothing was sent");
        assert_eq!(error.kind(), ErrorKind::Aborted);
    });
    drop(there);
}

#[test]
fn a_boxed_socket_passes_descriptors() {
    let (here, there) = Socket::pair().unwrap();
    let writer: Box<dyn WriteChannel> = Box::new(here.split().1);
    let reader: Box<dyn ReadChannel> = Box::new(there.split().0);
    let mut writer = Writer::new(writer);
    writer.put_be32(1);
    writer.put_descriptor(io::stdin().as_fd()).unwrap();
    writer.flush().unwrap();
    let config = ReaderConfig {
        descriptors: 1,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::with_config(reader, &config);
    assert_eq!(reader.get_be32().unwrap(), 1);
    reader.take_descriptor().expect("it came with it");
}

#[test]
fn the_failure_of_a_boxed_child_is_told_when_it_is_closed() {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "cat >/dev/null; exit 3"]);
    let writer: Box<dyn WriteChannel> = Box::new(Exec::writer(command).unwrap());
    let mut writer = Writer::new(writer);
    writer.put_be32(1);
    writer.close().expect_err("the child has failed");
}

#[test]
fn a_stream_goes_through_borrowed_channels_that_are_kept() {
    let (here, there) = Socket::pair().unwrap();
    let (mut tx, mut rx) = (here.split().1, there.split().0);
    for number in 0..3 {
        let mut writer = Writer::new(&mut tx);
        writer.put_be32(number);
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(Reader::new(&mut rx).get_be32().unwrap(), number);
    }
}

fn write_all_ways(mut channel: impl WriteChannel) {
    channel.write_segments(&[]).unwrap();
    channel.write_segments_at(&[], 0).unwrap();
    channel.write_segments_later(&[]).unwrap();
    channel.completed().unwrap();
    channel.copied_anyway();
    channel.send_descriptor(0, io::stdin().as_fd()).unwrap();
    channel.flush().unwrap();
    channel.wait(Interest::Write, None).unwrap();
    channel.capabilities();
    channel.shutdown_handle();
    channel.close().unwrap();
}

fn read_all_ways(mut channel: impl ReadChannel) {
    channel.read_segments(&mut []).unwrap();
    channel.read_segments_at(&mut [], 0).unwrap();
    let descriptors = &mut Vec::new();
    channel.read_with_descriptors(&mut [], descriptors).unwrap();
    channel.skip(0).unwrap();
    channel.read_ahead();
    channel.expect_end();
    channel.wait(None).unwrap();
    channel.capabilities();
    channel.shutdown_handle();
}

#[test]
fn every_method_of_a_channel_reaches_it() {
    let mut log = Log::default();
    write_all_ways(log.clone());
    let direct = log.take();
    assert_eq!(direct.len(), 11);
    write_all_ways(&mut log);
    assert_eq!(log.take(), direct);
    write_all_ways(Box::new(log.clone()) as Box<dyn WriteChannel + Send>);
    assert_eq!(log.take(), direct);
    write_all_ways(&mut log as &mut dyn WriteChannel);
    assert_eq!(log.take(), direct);

    read_all_ways(log.clone());
    let direct = log.take();
    assert_eq!(direct.len(), 9);
    read_all_ways(&mut log);
    assert_eq!(log.take(), direct);
    read_all_ways(Box::new(log.clone()) as Box<dyn ReadChannel + Send>);
    assert_eq!(log.take(), direct);
}

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let file = std::fs::read(folder.join(format!("{name}.zst"))).unwrap();
    zstd::decode_all(&*file).unwrap()
}

#[test]
fn a_boxed_visitor_is_shown_all_that_a_visitor_is_shown() {
    let mut seen = Vec::new();
    for name in [
        "10.0-q35-mapped.mapped",
        "10.0-q35-xbzrle.stream",
        "10.0-q35-dirty-bitmap.stream",
    ] {
        let bytes = golden(name);
        let log = Log::default();
        let options = Options {
            mode: Mode::Rescue,
            other_sections: OtherSections::PassOver,
            ..Options::default()
        };
        // Cut, so that something has to be assumed.
        for end in [bytes.len(), bytes.len() - 9] {
            let source = || SliceSource::new(&bytes[..end]);
            load(&mut source(), &mut log.clone(), &options).unwrap();
            let direct = log.take();
            let mut boxed: Box<dyn Visitor<Error = Infallible>> = Box::new(log.clone());
            load(&mut source(), &mut boxed, &options).unwrap();
            assert_eq!(log.take(), direct, "{name}");
            load(&mut source(), &mut &mut boxed, &options).unwrap();
            assert_eq!(log.take(), direct, "{name}");
            seen.extend(direct);
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 10, "{seen:?}");
}

fn ask_all_ways(source: impl PageSource<Error = Infallible>) {
    let Ok(_) = source.page(BlockIndex(0), PageIndex(0), &mut []);
    source.page_size();
    source.blocks();
    let Ok(()) = source.pages(&|_, _| true, &mut |_, _, _| ControlFlow::Continue(()));
    let pages = PageIndex(0)..PageIndex(1);
    let Ok(()) = source.pages_of(BlockIndex(0), pages, &mut |_, _| ControlFlow::Continue(()));
    let Ok(()) = source.read(
        &mut [].into_iter(),
        &mut |_, _, _| ControlFlow::Continue(()),
    );
}

#[test]
fn every_method_of_a_source_of_pages_reaches_it() {
    let log = Log::default();
    ask_all_ways(log.clone());
    let direct = log.take();
    assert_eq!(direct.len(), 6);
    ask_all_ways(&log);
    assert_eq!(log.take(), direct);
    ask_all_ways(Box::new(log.clone()) as Box<dyn PageSource<Error = Infallible>>);
    assert_eq!(log.take(), direct);
    ask_all_ways(Arc::new(log.clone()));
    assert_eq!(log.take(), direct);
}

#[test]
fn observers_hooks_and_releasers_are_reached_too() {
    fn observe(observer: impl Observer) {
        observer.package_sent();
        observer.requested(BlockIndex(0), PageIndex(0));
        observer.answered();
        observer.all_sent();
    }
    fn hook(mut hooks: impl RamHooks<()>) {
        hooks.before_iterate(&mut (), RamPhase::Setup).unwrap();
        hooks.after_iterate(&mut (), RamPhase::Setup).unwrap();
        assert!(hooks.load(&mut (), LoadEvent::Hook).unwrap());
        let page = HookedPage {
            block: 0,
            offset: 0,
            len: 0,
        };
        hooks.save_page(&mut (), page).unwrap();
    }
    let mut log = Log::default();
    observe(log.clone());
    let direct = log.take();
    assert_eq!(direct.len(), 4);
    observe(&log);
    assert_eq!(log.take(), direct);
    observe(Box::new(log.clone()) as Box<dyn Observer>);
    assert_eq!(log.take(), direct);

    hook(log.clone());
    let direct = log.take();
    assert_eq!(direct.len(), 4);
    hook(&mut log);
    assert_eq!(log.take(), direct);
    hook(Box::new(log.clone()) as Box<dyn RamHooks<()>>);
    assert_eq!(log.take(), direct);

    let releaser: Box<dyn Releaser> = Box::new(PunchHole::new(2 << 20));
    assert_eq!(Releaser::page_size(&releaser), 2 << 20);
}

#[test]
fn a_borrowed_source_of_bytes_goes_on_where_it_was_left() {
    fn two(mut source: impl Source) -> u16 {
        source.be16("two bytes").unwrap()
    }
    let mut source = SliceSource::new(&[0, 1, 0, 2, 0, 3]);
    assert_eq!((two(&mut source), two(&mut source)), (1, 2));
    assert_eq!(two(Box::new(&mut source)), 3);
    let mut sink: Box<dyn Outgoing> = Box::new(Vec::new());
    header::encode(&mut sink);
    assert!(sink.check().is_ok());
}

#[test]
fn a_machine_is_loaded_into_a_visitor_that_is_chosen_at_run_time() {
    let bytes = golden("10.0-pc-small.stream");
    let mut image = Image::default();
    {
        let mut visitor: Box<dyn Visitor<Error = Infallible> + '_> = Box::new(&mut image);
        load(
            &mut SliceSource::new(&bytes),
            &mut visitor,
            &Options::default(),
        )
        .unwrap();
    }
    assert_eq!(image.state.devices.len(), 30);
}
