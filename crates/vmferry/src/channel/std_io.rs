//! Anything that the standard library reads or writes.

use std::io::{self, Read, Write};

use super::{ReadChannel, Segment, SegmentMut, WriteChannel};

/// Bytes that pass at once: guest memory is copied here first, because `io::Write` wants a slice.
const PIECE: usize = 64 << 10;

/// Any `io::Read` or `io::Write` as a channel.
#[derive(Debug)]
pub struct Std<T> {
    inner: T,
    piece: Vec<u8>,
}

impl<T> Std<T> {
    /// A channel over `inner`.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            piece: vec![0; PIECE],
        }
    }

    /// What it is over.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Write> WriteChannel for Std<T> {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let mut filled = 0;
        for segment in segments {
            let copied = segment.copy_to(&mut self.piece[filled..]);
            filled += copied;
            if copied < segment.len() {
                break;
            }
        }
        loop {
            match self.inner.write(&self.piece[..filled]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> ReadChannel for Std<T> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let room: usize = segments.iter().map(SegmentMut::len).sum();
        let room = room.min(self.piece.len());
        let read = loop {
            match self.inner.read(&mut self.piece[..room]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        let mut from = &self.piece[..read.min(room)];
        for segment in segments {
            let copied = segment.copy_from(from);
            from = &from[copied..];
        }
        Ok(read)
    }
}
