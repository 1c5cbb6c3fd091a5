//! The multifd channels of real QEMUs: read one after the other and all at once, cut, damaged, and left out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vmferry::channel::{ReadChannel, SegmentMut, Shutdown};
use vmferry::error::{Error, FormatError};
use vmferry::load::{Channels, Image, LoadError, Options, Summary, load, load_channels, load_live};
use vmferry::machine::Rules;
use vmferry::progress::Progress;
use vmferry::ram::PageSize;
use vmferry::relay::{self, Forward};
use vmferry::save::{self, MultifdOptions, Outgoing, SaveError};
use vmferry::stream::{AbortHandle, Reader};
use vmferry::wire::multifd::{Init, Method, Packet};
use vmferry::wire::{Sink, SliceSource};

/// What a QEMU sent: the main channel, and the others.
struct Golden {
    name: String,
    main: Vec<u8>,
    channels: Vec<Vec<u8>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams")
}

fn unpacked(file: &str) -> Option<Vec<u8>> {
    let packed = std::fs::read(folder().join(file)).ok()?;
    Some(zstd::decode_all(&*packed).expect("a golden stream is a zstd frame"))
}

fn goldens() -> Vec<Golden> {
    let mut goldens = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).expect("there is test data") {
        let entry = entry.expect("a folder can be listed").file_name();
        let Some(name) = entry
            .to_str()
            .and_then(|name| name.strip_suffix(".main.zst"))
        else {
            continue;
        };
        let channels: Vec<_> = (0..)
            .map_while(|id| unpacked(&format!("{name}.{id}.zst")))
            .collect();
        if !channels.is_empty() {
            let main = unpacked(&format!("{name}.main.zst")).expect("it was listed");
            let name = name.to_owned();
            goldens.insert(
                name.clone(),
                Golden {
                    name,
                    main,
                    channels,
                },
            );
        }
    }
    assert!(goldens.len() >= 12, "{:?}", goldens.keys());
    goldens.into_values().collect()
}

impl Golden {
    fn sources(&self) -> Channels<SliceSource<'_>> {
        Channels {
            main: SliceSource::new(&self.main),
            preempt: None,
            multifd: self
                .channels
                .iter()
                .map(|bytes| SliceSource::new(bytes))
                .collect(),
        }
    }

    fn read(&self) -> (Image, Summary) {
        let read = read(&mut self.sources());
        read.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Numbers its packets without gaps.
    fn is_numbered(&self) -> bool {
        !self.name.starts_with("7.2")
    }
}

fn read(channels: &mut Channels<SliceSource<'_>>) -> Result<(Image, Summary), String> {
    let mut image = Image::default();
    match load_channels(channels, &mut image, &Options::default()) {
        Ok(summary) => Ok((image, summary)),
        Err(LoadError::Read(error)) => Err(error.to_string()),
        Err(LoadError::<Infallible>::Visitor(never)) => match never {},
    }
}

fn read_live(channels: &mut Channels<SliceSource<'_>>) -> Result<(Image, Summary), String> {
    let mut image = Image::default();
    match load_live(
        channels,
        &mut image,
        &Options::default(),
        &AbortHandle::default(),
    ) {
        Ok(summary) => Ok((image, summary)),
        Err(LoadError::Read(error)) => Err(error.to_string()),
        Err(LoadError::<Infallible>::Visitor(never)) => match never {},
    }
}

#[test]
fn channels_that_were_recorded_and_channels_that_are_read_at_once_make_the_same_machine() {
    for golden in goldens() {
        let (image, summary) = golden.read();
        assert!(
            summary.multifd_pages > 0 && summary.ram_ended,
            "{}: {summary:?}",
            golden.name
        );
        let live = read_live(&mut golden.sources());
        let (same, counted) = live.unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        assert!(same == image, "{}", golden.name);
        assert_eq!(counted, summary, "{}", golden.name);
    }
}

#[test]
fn it_does_not_matter_in_which_order_channels_come() {
    for golden in goldens() {
        let (image, summary) = golden.read();
        let mut turned = golden.sources();
        turned.multifd.reverse();
        let (same, counted) = read(&mut turned).unwrap();
        assert!(same == image && counted == summary, "{}", golden.name);
    }
}

#[test]
fn a_channel_that_is_missing_is_noticed() {
    for golden in goldens() {
        for missing in 0..golden.channels.len() {
            let last = missing + 1 == golden.channels.len();
            // Up to QEMU 8.2 nothing tells of the last one.
            if last && !golden.is_numbered() {
                continue;
            }
            for read in [read, read_live] {
                let mut fewer = golden.sources();
                fewer.multifd.remove(missing);
                let error = read(&mut fewer).map(drop).unwrap_err();
                let says = match (last, fewer.multifd.is_empty()) {
                    (_, true) => "multifd channels beside this one",
                    (true, _) => "is a channel missing?",
                    (false, _) => "expected the ids from 0 to",
                };
                assert!(
                    error.contains(says),
                    "{} without {missing}: {error}",
                    golden.name
                );
            }
        }
    }
}

#[test]
fn the_main_channel_alone_is_no_machine() {
    for golden in goldens() {
        let mut image = Image::default();
        let alone = load(
            &mut SliceSource::new(&golden.main),
            &mut image,
            &Options::default(),
        );
        let marked = golden.is_numbered() && !golden.name.contains("-8.0-");
        match alone {
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains("multifd channels beside this one"),
                    "{error}"
                );
            }
            // Machine types up to 8.0 do not mark what they leave to others.
            Ok(_) => assert!(!marked, "{}", golden.name),
        }
    }
}

#[test]
fn a_channel_that_is_cut_anywhere_is_an_error() {
    for golden in goldens() {
        for (id, bytes) in golden.channels.iter().enumerate() {
            // At every byte of the first packets and of the last ones, and here and there between them.
            let ends = (0..bytes.len())
                .filter(|end| *end < 200 || *end + 40 > bytes.len() || end % 4099 == 0);
            for (number, end) in ends.enumerate() {
                let mut cut = golden.sources();
                cut.multifd[id] = SliceSource::new(&bytes[..end]);
                let error = match number % 16 {
                    0 => read_live(&mut cut),
                    _ => read(&mut cut),
                };
                assert!(error.is_err(), "{}: channel {id} cut at {end}", golden.name);
            }
        }
    }
}

#[test]
fn a_byte_that_is_wrong_gives_an_error_or_another_page_and_nothing_worse() {
    for golden in goldens() {
        for (id, bytes) in golden.channels.iter().enumerate() {
            let mut damaged = bytes.clone();
            for at in (0..bytes.len()).step_by(bytes.len() / 24 + 1) {
                damaged[at] ^= 0x41;
                let mut channels = golden.sources();
                channels.multifd[id] = SliceSource::new(&damaged);
                let _ = read(&mut channels);
                damaged[at] = bytes[at];
            }
        }
    }
}

#[test]
fn an_error_says_in_which_channel_it_is() {
    let goldens = goldens();
    let golden = &goldens[0];
    let mut damaged = golden.channels[1].clone();
    damaged[64] = 0xee;
    for read in [read, read_live] {
        let mut channels = golden.sources();
        channels.multifd[1] = SliceSource::new(&damaged);
        let error = read(&mut channels).map(drop).unwrap_err();
        assert!(
            error.contains("found ee223344, at offset 0x40 in section 'multifd channel 1'"),
            "{error}"
        );
    }
}

/// A machine is refused, and nothing of it is written.
fn refused(image: &Image, options: &MultifdOptions, channels: usize) {
    let (mut main, mut others) = (Vec::new(), vec![Vec::new(); channels]);
    let error = save::multifd(
        &mut main,
        &mut others,
        (&image.state, image),
        options,
        &AbortHandle::default(),
        &Progress::default(),
    );
    assert!(matches!(error, Err(SaveError::Send(_))), "{error:?}");
    assert!(main.is_empty() && others.iter().all(Vec::is_empty));
}

/// What we send of a machine.
fn written(image: &Image, options: &MultifdOptions, channels: usize) -> Golden {
    let mut main = Vec::new();
    let mut others = vec![Vec::new(); channels];
    let progress = Progress::default();
    let state = &image.state;
    let result = save::multifd(
        &mut main,
        &mut others,
        (state, image),
        options,
        &AbortHandle::default(),
        &progress,
    );
    result.unwrap();
    assert!(progress.sent() > 0);
    Golden {
        name: state.configuration.as_ref().unwrap().machine.clone(),
        main,
        channels: others,
    }
}

#[test]
fn what_is_written_is_read_back_with_every_method_and_number_of_channels() {
    for golden in goldens().into_iter().step_by(3) {
        let (image, _) = golden.read();
        for method in [Method::None, Method::Zlib, Method::Zstd] {
            for channels in [1, 2, 5] {
                let ours = written(&image, &MultifdOptions::new(method), channels);
                let (again, summary) = ours.read();
                assert!(again == image, "{} {method:?} {channels}", golden.name);
                let (live, counted) = read_live(&mut ours.sources()).unwrap();
                assert!(live == image && counted == summary, "{}", golden.name);
            }
        }
    }
}

/// The records of the main channel that are about meeting points, and the SYNC packets of each other one.
fn meetings(golden: &Golden) -> (usize, usize, Vec<usize>) {
    // Behind the RAM comes the first device.
    let ram = golden
        .main
        .windows(6)
        .position(|bytes| bytes == b"\x05timer")
        .unwrap();
    let ram = &golden.main[..ram];
    let count = |what: &[u8]| {
        ram.windows(what.len())
            .filter(|bytes| *bytes == what)
            .count()
    };
    let channels = golden.channels.iter().map(|bytes| {
        let mut source = SliceSource::new(bytes);
        Init::decode(&mut source).unwrap();
        let mut syncs = 0;
        while !source.rest().is_empty() {
            let Packet::Pages(packet) = Packet::decode(&mut source, PageSize::X86).unwrap() else {
                panic!("a device's state");
            };
            syncs += usize::from(packet.sync);
            if !packet.normal.is_empty() {
                source
                    .take_slice(packet.size as usize, "a payload")
                    .unwrap();
            }
        }
        syncs
    });
    // With the footer's first byte, or with what must come next.
    let ends = count(b"\0\0\0\0\0\0\0\x10\x7e");
    let marks = count(b"\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\x10");
    (ends, marks, channels.collect())
}

#[test]
fn the_machine_type_decides_where_channels_meet_and_where_zeros_are() {
    let golden = goldens()
        .into_iter()
        .find(|golden| golden.name.starts_with("10.0"))
        .unwrap();
    let (mut image, _) = golden.read();
    for (machine, flushes, zeros_in_packets, switchover) in [
        ("pc-q35-7.2", false, false, false),
        ("pc-q35-8.0", false, false, false),
        ("pc-q35-8.2", true, false, false),
        ("pc-q35-9.0", true, true, false),
        ("pc-q35-10.0", true, true, true),
    ] {
        image.state.configuration.as_mut().unwrap().machine = machine.into();
        let ours = written(&image, &MultifdOptions::default(), 3);
        let (again, summary) = ours.read();
        assert!(again == image, "{machine}");
        let all = summary.multifd_pages == summary.pages;
        assert_eq!(all, zeros_in_packets, "{machine}: {summary:?}");
        let (ends, marks, syncs) = meetings(&ours);
        let expected = if flushes { marks } else { ends };
        assert_eq!(marks > 0, flushes, "{machine}");
        assert!(ends >= 3, "{machine}: START, PART and END");
        assert_eq!(syncs, [expected; 3], "{machine}");
        let commands = ours
            .main
            .windows(5)
            .filter(|bytes| bytes == b"\x08\0\x0b\0\0")
            .count();
        assert_eq!(commands, usize::from(switchover), "{machine}");
    }
}

#[test]
fn a_machine_type_that_does_not_tell_its_release_is_written_only_when_somebody_else_does() {
    let golden = goldens().remove(0);
    let (mut image, _) = golden.read();
    image.state.configuration.as_mut().unwrap().machine = "microvm".into();
    let mut options = MultifdOptions::default();
    refused(&image, &options, 2);
    options.rules = Some(Rules::of_release(8, 0));
    assert!(written(&image, &options, 2).read().0 == image);
}

#[test]
fn no_channel_and_too_many_are_refused() {
    let golden = goldens().remove(0);
    let (image, _) = golden.read();
    for count in [0, 256] {
        refused(&image, &MultifdOptions::default(), count);
    }
}

/// Sends on what is read, while it is read.
fn passed_on(golden: &Golden, options: &MultifdOptions, channels: usize) -> Golden {
    let mut main = Vec::new();
    let mut others = vec![Vec::new(); channels];
    let abort = AbortHandle::default();
    let passed = relay::forward_multifd(
        &mut main,
        &mut others,
        options,
        &abort,
        LoadError::Visitor,
        |forward| load_live(&mut golden.sources(), forward, &Options::default(), &abort),
    );
    passed.unwrap_or_else(|error| panic!("{}: {error:?}", golden.name));
    Golden {
        name: golden.name.clone(),
        main,
        channels: others,
    }
}

#[test]
fn a_stream_that_is_passed_on_while_it_is_read_is_of_the_same_machine() {
    for golden in goldens() {
        let (image, summary) = golden.read();
        for (method, channels) in [(Method::None, 1), (Method::Zstd, 4), (Method::Zlib, 2)] {
            let passed = passed_on(&golden, &MultifdOptions::new(method), channels);
            let (again, counted) = passed.read();
            assert!(again == image, "{} {method:?}", golden.name);
            assert_eq!(counted.pages, summary.pages, "{}", golden.name);
        }
        // And as one stream.
        let mut one = Vec::new();
        let mut forward = Forward::new(&mut one);
        load_channels(&mut golden.sources(), &mut forward, &Options::default()).unwrap();
        forward.finish().unwrap();
        let mut again = Image::default();
        load(&mut SliceSource::new(&one), &mut again, &Options::default()).unwrap();
        assert!(again == image, "{}", golden.name);
    }
}

/// Takes so many bytes, and no more.
#[derive(Debug)]
struct Limited {
    left: usize,
    failed: bool,
}

impl Sink for Limited {
    fn put(&mut self, bytes: &[u8]) {
        self.failed |= self.left < bytes.len();
        self.left = self.left.saturating_sub(bytes.len());
    }
}

impl Outgoing for Limited {
    fn flush(&mut self) -> Result<(), Error> {
        self.check()
    }

    fn check(&self) -> Result<(), Error> {
        match self.failed {
            true => Err(FormatError::unsupported(7, "more than there is room for").into()),
            false => Ok(()),
        }
    }
}

/// Counts how often it is shut down.
#[derive(Debug, Clone, Default)]
struct Counted(Arc<AtomicUsize>);

impl Shutdown for Counted {
    fn shutdown(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl ReadChannel for Counted {
    fn read_segments(&mut self, _: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        Ok(0)
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::new(self.clone()))
    }
}

#[test]
fn a_channel_that_takes_no_more_ends_everything_and_its_error_is_told() {
    let golden = goldens().remove(0);
    let (image, _) = golden.read();
    for left in [0, 64, 1408, 5000] {
        let mut main = Vec::new();
        let mut others: Vec<_> = [usize::MAX, left, usize::MAX]
            .map(|left| Limited {
                left,
                failed: false,
            })
            .into();
        let counted = Counted::default();
        let abort = Reader::new(counted.clone()).abort_handle();
        let state = (&image.state, &image);
        let options = MultifdOptions::default();
        let error = save::multifd(
            &mut main,
            &mut others,
            state,
            &options,
            &abort,
            &Progress::default(),
        );
        let Err(SaveError::Send(error)) = error else {
            panic!("{left}: {error:?}");
        };
        assert!(
            error.to_string().contains("more than there is room for"),
            "{left}: {error}"
        );
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
    }
}
