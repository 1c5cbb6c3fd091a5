//! Channels that do as they are told.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use proptest::prelude::*;
use vmferry::channel::{
    Bytes, Memory, RamMapping, RamSlice, ReadChannel, Segment, SegmentMut, WriteChannel,
};

/// What a channel does when it is called.
#[derive(Debug, Clone, Copy)]
pub enum Mood {
    /// Takes or gives at most this many bytes.
    UpTo(usize),
    NotReady,
    Fails(i32),
}

pub fn moods() -> impl Strategy<Value = Vec<Mood>> {
    let mood = prop_oneof![
        2 => (1_usize..10_000).prop_map(Mood::UpTo),
        2 => (1_usize..20).prop_map(Mood::UpTo),
        2 => Just(Mood::NotReady),
    ];
    proptest::collection::vec(mood, 0..60)
}

/// Takes or gives bytes as its moods say, and without limit once they are used up.
#[derive(Debug)]
pub struct Moody<T> {
    pub inner: T,
    pub moods: VecDeque<Mood>,
    /// How often somebody has waited for it.
    pub waits: usize,
    pub calls: usize,
}

impl<T> Moody<T> {
    pub fn new(inner: T, moods: impl IntoIterator<Item = Mood>) -> Self {
        Self {
            inner,
            moods: moods.into_iter().collect(),
            waits: 0,
            calls: 0,
        }
    }

    fn limit(&mut self) -> io::Result<usize> {
        self.calls += 1;
        match self.moods.pop_front() {
            Some(Mood::NotReady) => Err(io::ErrorKind::WouldBlock.into()),
            Some(Mood::Fails(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Mood::UpTo(limit)) => Ok(limit),
            None => Ok(usize::MAX),
        }
    }
}

impl WriteChannel for Moody<Memory> {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let limit = self.limit()?;
        let before = self.inner.0.len();
        self.inner.write_segments(segments)?;
        self.inner.0.truncate(before.saturating_add(limit));
        Ok(self.inner.0.len() - before)
    }

    fn wait(&mut self, _: vmferry::channel::Interest, _: Option<Duration>) -> io::Result<()> {
        self.waits += 1;
        Ok(())
    }
}

impl ReadChannel for Moody<Bytes<'_>> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let rest = self.inner.rest();
        let limit = self.limit()?.min(rest.len());
        let read = Bytes::new(&rest[..limit]).read_segments(segments)?;
        self.inner = Bytes::new(&rest[read..]);
        Ok(read)
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<()> {
        self.waits += 1;
        Ok(())
    }
}

/// One answer of a [`Script`].
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Data(&'static [u8]),
    NotReady,
    Fails(i32),
}

/// Gives exactly what is written here, one step a call, and then its end.
#[derive(Debug)]
pub struct Script {
    pub steps: VecDeque<Step>,
    pub calls: usize,
}

impl Script {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
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

pub const PAGE: usize = 4096;

/// The bytes of a test, different from page to page and from byte to byte.
pub fn pattern(len: usize) -> Vec<u8> {
    let byte = |i: usize| u8::try_from((i % 251 + i / PAGE) % 256).unwrap();
    (0..len).map(byte).collect()
}

/// `count` pages of guest memory that hold the pattern.
pub fn guest(count: usize) -> RamMapping {
    let mut ram = RamMapping::private(count * PAGE).unwrap();
    ram.as_ram_mut().copy_from(&pattern(count * PAGE));
    ram
}

/// What guest memory holds.
pub fn contents(ram: RamSlice<'_>) -> Vec<u8> {
    let mut out = vec![0; ram.len()];
    ram.copy_to(&mut out);
    out
}
