//! Memory as a channel: for tests, benchmarks, and streams that are built before they are sent.

use std::io::{self, SeekFrom};

use super::{Capabilities, ReadChannel, SeekChannel, Segment, SegmentMut, WriteChannel};

/// A vector that takes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(pub Vec<u8>);

/// A slice that is read to its end.
#[derive(Debug, Clone)]
pub struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    /// A channel over `bytes`, from their start on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes, at: 0 }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        &self.all[self.at..]
    }
}

impl WriteChannel for Memory {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let before = self.0.len();
        for segment in segments {
            segment.append_to(&mut self.0);
        }
        Ok(self.0.len() - before)
    }

    /// Bytes that nobody has written are zeros.
    fn write_segments_at(&mut self, segments: &[Segment<'_>], offset: u64) -> io::Result<usize> {
        let mut at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let before = at;
        for segment in segments {
            let end = at
                .checked_add(segment.len())
                .ok_or(io::ErrorKind::FileTooLarge)?;
            if self.0.len() < end {
                self.0.resize(end, 0);
            }
            at += segment.copy_to(&mut self.0[at..end]);
        }
        Ok(at - before)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            positioned: true,
            ..Capabilities::default()
        }
    }
}

impl ReadChannel for Bytes<'_> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let read = copy(self.rest(), segments);
        self.at += read;
        Ok(read)
    }

    fn read_segments_at(
        &mut self,
        segments: &mut [SegmentMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(copy(self.all.get(from..).unwrap_or_default(), segments))
    }

    /// A call costs nothing here, and a window that stays in the nearest cache does.
    fn read_ahead(&self) -> usize {
        16 << 10
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            seek: true,
            positioned: true,
            ..Capabilities::default()
        }
    }
}

impl SeekChannel for Bytes<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => (self.all.len() as u64).checked_add_signed(by),
            SeekFrom::Current(by) => (self.at as u64).checked_add_signed(by),
        };
        let target = target.ok_or(io::ErrorKind::InvalidInput)?;
        // Behind the end there is nothing, wherever exactly it is.
        self.at = usize::try_from(target)
            .unwrap_or(usize::MAX)
            .min(self.all.len());
        Ok(target)
    }
}

fn copy(mut from: &[u8], segments: &mut [SegmentMut<'_>]) -> usize {
    let mut read = 0;
    for segment in segments {
        let len = segment.copy_from(from);
        from = &from[len..];
        read += len;
    }
    read
}
