//! A channel of which a part was read already, to see what it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::{Capabilities, ReadChannel, SegmentMut, Shutdown};

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

    fn skip(&mut self, n: u64) -> io::Result<bool> {
        let left = self.head.len() - self.at;
        match n.checked_sub(left as u64) {
            Some(beyond) if !self.rest.skip(beyond)? => return Ok(false),
            Some(_) => self.at = self.head.len(),
            // It is less than what is left.
            None => self.at += usize::try_from(n).unwrap_or(left),
        }
        Ok(true)
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

    /// Offsets would be those of the rest, and a descriptor could belong to a byte that was read already.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            seek: false,
            positioned: false,
            descriptors: false,
            ..self.rest.capabilities()
        }
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        self.rest.shutdown_handle()
    }
}
