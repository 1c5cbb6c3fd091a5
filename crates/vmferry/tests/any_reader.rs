//! A stream is read whatever the reader under it is like: with a window that is smaller than what a decoder needs at
//! once, and over a channel that is not always ready.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use vmferry::channel::{Blocking, Bytes, Duplex, ReadChannel, SegmentMut, Socket};
use vmferry::error::Error;
use vmferry::load::{
    Bitmap, Channels, Element, Image, LoadError, MappedPages, Options, Origin, OtherSections,
    Visitor, VmDescRule, load, load_channels,
};
use vmferry::machine::{Configuration, DeviceSection};
use vmferry::progress::Progress;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::save::precopy;
use vmferry::stream::{Reader, ReaderConfig, Writer};
use vmferry::wire::{SliceSource, Source};

/// All that was shown, as one number.
#[derive(Debug, Default)]
struct Digest(DefaultHasher);

impl Digest {
    fn note(&mut self, what: impl Debug, bytes: &[u8]) {
        format!("{what:?}").hash(&mut self.0);
        bytes.hash(&mut self.0);
    }
}

impl Visitor for Digest {
    type Error = Infallible;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Infallible> {
        self.note(configuration, b"");
        Ok(())
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, _: PageSize) -> Result<(), Infallible> {
        self.note(blocks, b"");
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        origin: Origin,
    ) -> Result<(), Infallible> {
        let data = match content {
            Page::Zero => &[][..],
            Page::Data(data) => data,
        };
        self.note((block, page, origin), data);
        Ok(())
    }

    fn mapped_block(
        &mut self,
        block: BlockIndex,
        _: &Bitmap,
        offset: u64,
    ) -> Result<MappedPages, Infallible> {
        self.note((block, offset), b"");
        Ok(MappedPages::Show)
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        self.note((block, page), differences);
        Ok(())
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Infallible> {
        self.note((section.idstr, section.split), section.element);
        Ok(())
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Infallible> {
        self.note("vmdesc", json);
        Ok(())
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), Infallible> {
        self.note((element.offset, element.length), b"");
        Ok(())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams")
}

fn golden(name: &str) -> Vec<u8> {
    let file = std::fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    zstd::decode_all(&*file).expect("a golden stream is a zstd frame")
}

/// Every recorded migration: a name, and its channels: the main one, that of requested pages, and those of multifd.
fn migrations() -> Vec<(String, Channels<Vec<u8>>)> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .expect("the golden streams are there")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut migrations = Vec::new();
    for name in &names {
        let one = [".stream.zst", ".mapped.zst", ".main.zst"];
        let Some(stem) = one.iter().find_map(|end| name.strip_suffix(end)) else {
            continue;
        };
        let others = |is_it: &dyn Fn(&str) -> bool| -> Vec<Vec<u8>> {
            let others = names.iter().filter(|other| {
                let middle = other.strip_prefix(stem).and_then(|o| o.strip_prefix('.'));
                middle
                    .and_then(|o| o.strip_suffix(".zst"))
                    .is_some_and(is_it)
            });
            others.map(|other| golden(other)).collect()
        };
        migrations.push((
            name.clone(),
            Channels {
                main: golden(name),
                preempt: others(&|middle| middle == "preempt").pop(),
                multifd: others(&|middle| middle.parse::<u8>().is_ok()),
            },
        ));
    }
    assert!(migrations.len() > 50, "{names:?}");
    migrations
}

/// What a migration is read as: all that is shown, and the summary; or what is wrong.
fn read<'a, S: Source<Error: Into<Error>>>(
    channels: &'a Channels<Vec<u8>>,
    source: impl Fn(&'a [u8]) -> S,
) -> Result<(u64, String), String> {
    let options = Options {
        vmdesc: VmDescRule::Optional,
        other_sections: OtherSections::PassOver,
        ..Options::default()
    };
    let mut digest = Digest::default();
    let sources = &mut Channels {
        main: source(&channels.main),
        preempt: channels.preempt.as_deref().map(&source),
        multifd: channels.multifd.iter().map(|bytes| source(bytes)).collect(),
    };
    match load_channels(sources, &mut digest, &options) {
        Ok(summary) => Ok((digest.0.finish(), format!("{summary:?}"))),
        Err(LoadError::Read(error)) => Err(error.to_string()),
        Err(LoadError::Visitor(never)) => match never {},
    }
}

#[test]
fn every_golden_stream_is_read_alike_however_small_the_window_is() {
    let mut whole = 0;
    for (name, channels) in migrations() {
        let expected = read(&channels, SliceSource::new);
        whole += usize::from(expected.is_ok());
        // The least that there is, and more than a page but less than a decoder asks for.
        for window in [0, 5000, 32 << 10] {
            let config = ReaderConfig {
                window,
                ..ReaderConfig::default()
            };
            let reader = |bytes| Reader::with_config(Bytes::new(bytes), &config);
            assert_eq!(read(&channels, reader), expected, "{name} with {window}");
        }
    }
    assert!(whole > 50, "{whole}");
}

/// A channel that is ready every other time, and then gives a few bytes.
struct Hesitant<'a> {
    bytes: Bytes<'a>,
    calls: usize,
}

impl ReadChannel for Hesitant<'_> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls % 2 == 1 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let room: usize = segments.iter().map(SegmentMut::len).sum();
        let mut piece = vec![0; room.min(1 + self.calls * 7919 % 50_000)];
        let read = self
            .bytes
            .read_segments(&mut [SegmentMut::new(&mut piece)])?;
        Bytes::new(&piece[..read]).read_segments(segments)
    }

    fn read_ahead(&self) -> usize {
        64 << 10
    }
}

#[test]
fn every_golden_stream_is_read_alike_over_a_channel_that_is_not_always_ready() {
    for (name, channels) in migrations() {
        let expected = read(&channels, SliceSource::new);
        let reader = |bytes| {
            let bytes = Bytes::new(bytes);
            Reader::new(Hesitant { bytes, calls: 0 })
        };
        assert_eq!(read(&channels, reader), expected, "{name}");
    }
}

#[test]
fn a_machine_is_sent_and_read_over_a_socket_that_never_waits() {
    let bytes = golden("10.0-q35-vmem.stream.zst");
    let mut machine = Image::default();
    load(
        &mut SliceSource::new(&bytes),
        &mut machine,
        &Options::default(),
    )
    .expect("QEMU sent it");

    // Read as it comes, in pieces that end anywhere.
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    let read = thread::scope(|scope| {
        scope.spawn(|| {
            for piece in bytes.chunks(3001) {
                theirs.write_all(piece).expect("it is read");
                thread::yield_now();
            }
            drop(theirs);
        });
        let (mut reader, _) = Socket::from(ours).split();
        reader.set_blocking(Blocking::Never);
        let mut image = Image::default();
        load(&mut Reader::new(reader), &mut image, &Options::default()).map(|_| image)
    });
    assert!(read.expect("it is all there") == machine);

    // Sent to a reader that is slower than the writer.
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let read = thread::scope(|scope| {
        scope.spawn(|| {
            let (_, mut writer) = Socket::from(ours).split();
            writer.set_blocking(Blocking::Never);
            let mut writer = Writer::new(writer);
            precopy(&mut writer, &machine.state, &machine, &Progress::default())
                .expect("it is read");
            writer.finish().expect("it is read");
        });
        let mut image = Image::default();
        let mut reader = Reader::new(Socket::from(theirs).split().0);
        load(&mut reader, &mut image, &Options::default()).map(|_| image)
    });
    assert!(read.expect("it is all there") == machine);
}
