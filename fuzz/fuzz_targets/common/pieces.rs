//! A channel that gives bytes in pieces, and is not always ready.

use std::io;

use vmferry::channel::{ReadChannel, SegmentMut};

/// Gives a slice in pieces of at most `piece` bytes; before every `pause`-th of them, if that is not 0,
/// it is not ready once.
pub struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
    pause: u32,
    calls: u32,
}

impl<'a> Pieces<'a> {
    pub fn new(rest: &'a [u8], piece: usize, pause: u32) -> Self {
        Self {
            rest,
            piece: piece.max(1),
            pause,
            calls: 0,
        }
    }
}

impl ReadChannel for Pieces<'_> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        self.calls += 1;
        if self.pause > 1 && self.calls % self.pause == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut left = self.piece.min(self.rest.len());
        let mut read = 0;
        for segment in segments {
            let len = segment.copy_from(&self.rest[..left]);
            self.rest = &self.rest[len..];
            left -= len;
            read += len;
        }
        Ok(read)
    }
}
