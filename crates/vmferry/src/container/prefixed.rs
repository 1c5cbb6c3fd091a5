//! A channel of which a part was read already, to see what it is.

use std::io;
use std::time::Duration;

use crate::channel::{ReadChannel, SegmentMut};

/// What was read already, and then the rest.
pub(super) struct Prefixed<C> {
    head: Vec<u8>,
    at: usize,
    rest: C,
}

impl<C> Prefixed<C> {
    pub(super) fn new((rest, head): (C, Vec<u8>)) -> Self {
        Self { head, at: 0, rest }
    }
}

impl<C: ReadChannel> ReadChannel for Prefixed<C> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let mut left = self.head.get(self.at..).unwrap_or_default();
        if left.is_empty() {
            return self.rest.read_segments(segments);
        }
        let before = left.len();
        for segment in segments {
            let copied = segment.copy_from(left);
            left = left.get(copied..).unwrap_or_default();
        }
        let read = before - left.len();
        self.at += read;
        Ok(read)
    }

    fn read_ahead(&self) -> usize {
        self.rest.read_ahead()
    }

    fn expect_end(&mut self) {
        self.rest.expect_end();
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.at < self.head.len() {
            return Ok(());
        }
        self.rest.wait(timeout)
    }
}
