//! What a decoder reads from.

use std::io::{self, BufRead, Read};

/// Compressed bytes, with a look at those to come, and a memory of how the last reads went.
pub(super) struct Input {
    inner: Box<dyn BufRead + Send>,
    /// Bytes that were looked at, and not taken yet: those from `at` on.
    ahead: Vec<u8>,
    at: usize,
    /// Bytes that were taken.
    pub(super) taken: u64,
    /// A decoder wanted more, and there was nothing.
    pub(super) has_ended: bool,
    /// What is below could not be read.
    pub(super) has_failed: bool,
}

impl Input {
    pub(super) fn new(inner: impl BufRead + Send + 'static) -> Self {
        Self {
            inner: Box::new(inner),
            ahead: Vec::new(),
            at: 0,
            taken: 0,
            has_ended: false,
            has_failed: false,
        }
    }

    /// Nothing, to stand in while a decoder is replaced.
    pub(super) fn empty() -> Self {
        Self::new(io::empty())
    }

    /// The next `n` bytes, fewer only at the end; they are not taken.
    pub(super) fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        self.ahead.drain(..self.at);
        self.at = 0;
        while self.ahead.len() < n {
            let wanted = n - self.ahead.len();
            let more = self
                .inner
                .fill_buf()
                .inspect_err(|_| self.has_failed = true)?;
            if more.is_empty() {
                break;
            }
            let taken = more.len().min(wanted);
            self.ahead
                .extend_from_slice(more.get(..taken).unwrap_or_default());
            self.inner.consume(taken);
        }
        Ok(self.ahead.get(..n).unwrap_or(&self.ahead))
    }

    /// Passes over the next `n` bytes, and tells how many were there.
    pub(super) fn skip(&mut self, n: u64) -> io::Result<u64> {
        let mut left = n;
        while left > 0 {
            let there = self.fill_buf()?.len();
            if there == 0 {
                break;
            }
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(there);
            self.consume(taken);
            left -= taken as u64;
        }
        Ok(n - left)
    }

    /// How many of the next bytes are zeros; they are taken.
    pub(super) fn skip_zeros(&mut self) -> io::Result<u64> {
        let mut zeros = 0;
        loop {
            let there = self.fill_buf()?;
            let len = there.len();
            let here = there.iter().take_while(|byte| **byte == 0).count();
            self.consume(here);
            zeros += here as u64;
            if here < len || len == 0 {
                return Ok(zeros);
            }
        }
    }
}

impl Read for Input {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let len = there.len().min(room.len());
        if let (Some(room), Some(there)) = (room.get_mut(..len), there.get(..len)) {
            room.copy_from_slice(there);
        }
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.ahead.len() {
            return Ok(self.ahead.get(self.at..).unwrap_or_default());
        }
        let there = self
            .inner
            .fill_buf()
            .inspect_err(|_| self.has_failed = true)?;
        self.has_ended |= there.is_empty();
        Ok(there)
    }

    fn consume(&mut self, n: usize) {
        self.taken += n as u64;
        if self.at < self.ahead.len() {
            self.at = self.ahead.len().min(self.at + n);
        } else {
            self.inner.consume(n);
        }
    }
}
