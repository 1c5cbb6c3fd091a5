//! Nothing.

use std::io;

use super::{ReadChannel, Segment, SegmentMut, WriteChannel};

/// Takes everything and keeps nothing; its end comes at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

impl WriteChannel for Null {
    #[inline]
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        Ok(segments.iter().map(Segment::len).sum())
    }
}

impl ReadChannel for Null {
    fn read_segments(&mut self, _: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        Ok(0)
    }
}
