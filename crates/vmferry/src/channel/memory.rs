//! Memory as a channel: for tests, benchmarks, and streams that are built before they are sent.

use std::io;

use super::{ReadChannel, Segment, SegmentMut, WriteChannel};

/// A vector that takes everything.
#[derive(Debug, Clone, Default)]
pub struct Memory(pub Vec<u8>);

impl WriteChannel for Memory {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for segment in segments {
            let at = self.0.len();
            self.0.resize(at + segment.len(), 0);
            written += segment.copy_to(&mut self.0[at..]);
        }
        Ok(written)
    }
}

/// A slice that is read to its end.
#[derive(Debug, Clone)]
pub struct Bytes<'a>(pub &'a [u8]);

impl ReadChannel for Bytes<'_> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let mut read = 0;
        for segment in segments {
            let len = segment.copy_from(self.0);
            self.0 = &self.0[len..];
            read += len;
        }
        Ok(read)
    }
}

/// Takes everything and keeps nothing; its end comes at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

impl WriteChannel for Null {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        Ok(segments.iter().map(Segment::len).sum())
    }
}

impl ReadChannel for Null {
    fn read_segments(&mut self, _: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        Ok(0)
    }
}
