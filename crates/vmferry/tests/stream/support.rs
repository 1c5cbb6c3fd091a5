//! Channels that do as they are told.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use vmferry::channel::{
    Bytes, Capabilities, Interest, RamMapping, RamSlice, ReadChannel, Segment, SegmentMut,
    Shutdown, WriteChannel,
};

/// What a channel does when it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    /// Takes or gives at most this many bytes.
    UpTo(usize),
    NotReady,
    Fails(i32),
}

pub(crate) fn moods() -> impl Strategy<Value = Vec<Mood>> {
    let mood = prop_oneof![
        2 => (1_usize..10_000).prop_map(Mood::UpTo),
        2 => (1_usize..20).prop_map(Mood::UpTo),
        2 => Just(Mood::NotReady),
    ];
    proptest::collection::vec(mood, 0..60)
}

/// A channel that takes or gives bytes as its moods say, and as it is once they are used up.
#[derive(Debug)]
pub(crate) struct Moody<T> {
    pub(crate) inner: T,
    pub(crate) moods: VecDeque<Mood>,
    /// How often somebody has waited for it.
    pub(crate) waits: usize,
    pub(crate) calls: usize,
    /// The last mood was not to be ready.
    pretends: bool,
}

impl<T> Moody<T> {
    pub(crate) fn new(inner: T, moods: impl IntoIterator<Item = Mood>) -> Self {
        Self {
            inner,
            moods: moods.into_iter().collect(),
            waits: 0,
            calls: 0,
            pretends: false,
        }
    }

    fn limit(&mut self) -> io::Result<Option<usize>> {
        self.calls += 1;
        let mood = self.moods.pop_front();
        self.pretends = matches!(mood, Some(Mood::NotReady));
        match mood {
            Some(Mood::NotReady) => Err(io::ErrorKind::WouldBlock.into()),
            Some(Mood::Fails(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Mood::UpTo(limit)) => Ok(Some(limit)),
            None => Ok(None),
        }
    }
}

impl<T: WriteChannel> WriteChannel for Moody<T> {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let Some(limit) = self.limit()? else {
            return self.inner.write_segments(segments);
        };
        let mut bytes = Vec::new();
        for segment in segments {
            segment.append_to(&mut bytes);
        }
        bytes.truncate(limit);
        self.inner.write_segments(&[Segment::new(&bytes)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<()> {
        self.waits += 1;
        if self.pretends {
            return Ok(());
        }
        self.inner.wait(interest, timeout)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        self.inner.shutdown_handle()
    }

    fn close(&mut self) -> io::Result<()> {
        self.inner.close()
    }
}

impl<T: ReadChannel> ReadChannel for Moody<T> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let Some(limit) = self.limit()? else {
            return self.inner.read_segments(segments);
        };
        let room: usize = segments.iter().map(SegmentMut::len).sum();
        let mut bytes = vec![0; room.min(limit)];
        let read = self
            .inner
            .read_segments(&mut [SegmentMut::new(&mut bytes)])?;
        Bytes::new(&bytes[..read]).read_segments(segments)
    }

    fn expect_end(&mut self) {
        self.inner.expect_end();
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.waits += 1;
        if self.pretends {
            return Ok(());
        }
        self.inner.wait(timeout)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        self.inner.shutdown_handle()
    }
}

/// Takes everything, and remembers in which pieces; the end of the channel is as it is told.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) bytes: Vec<u8>,
    /// For each call, the lengths of its pieces.
    pub(crate) calls: Vec<Vec<usize>>,
    pub(crate) close_error: Option<i32>,
    pub(crate) closed: Arc<AtomicBool>,
}

impl WriteChannel for Recorder {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        self.calls.push(segments.iter().map(Segment::len).collect());
        for segment in segments {
            segment.append_to(&mut self.bytes);
        }
        Ok(segments.iter().map(Segment::len).sum())
    }

    fn close(&mut self) -> io::Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        match self.close_error {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

/// One answer of a [`Script`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Data(&'static [u8]),
    NotReady,
    Fails(i32),
}

/// Gives exactly what is written here, one step a call, and then its end.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) steps: VecDeque<Step>,
    pub(crate) calls: usize,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            calls: 0,
        }
    }
}

impl ReadChannel for Script {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        self.calls += 1;
        match self.steps.pop_front() {
            None => Ok(0),
            Some(Step::NotReady) => Err(io::ErrorKind::WouldBlock.into()),
            Some(Step::Fails(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Step::Data(data)) => {
                let read = Bytes::new(data).read_segments(segments)?;
                if read < data.len() {
                    self.steps.push_front(Step::Data(&data[read..]));
                }
                Ok(read)
            }
        }
    }
}

pub(crate) const PAGE: usize = 4096;

/// The bytes of a test, different from page to page and from byte to byte.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let byte = |i: usize| u8::try_from((i % 251 + i / PAGE) % 256).unwrap();
    (0..len).map(byte).collect()
}

/// `count` pages of guest memory that hold the pattern.
pub(crate) fn guest(count: usize) -> RamMapping {
    let mut ram = RamMapping::private(count * PAGE).unwrap();
    ram.as_ram_mut().copy_from(&pattern(count * PAGE));
    ram
}

/// What guest memory holds.
pub(crate) fn contents(ram: RamSlice<'_>) -> Vec<u8> {
    let mut out = vec![0; ram.len()];
    ram.copy_to(&mut out);
    out
}
