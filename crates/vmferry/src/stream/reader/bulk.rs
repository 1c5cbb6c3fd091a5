//! Bytes: by reference into the window, by copy, or straight from the channel into their place.

use std::io::{self, BufRead, Read, Write};

use super::super::{ErrorKind, Result, StreamError};
use super::Reader;
use crate::channel::{RamSliceMut, ReadChannel};

impl<C: ReadChannel> Reader<C> {
    /// The next `n` bytes by reference; at most a window.
    ///
    /// # Errors
    /// The stream ends within them, or has failed, or they are more than a window; then nothing was
    /// taken.
    #[inline]
    #[doc(alias = "qemu_get_buffer_in_place")]
    pub fn get_ref(&mut self, n: usize) -> Result<&[u8]> {
        if self.end - self.start < n {
            self.demand(n)?;
        }
        let taken = self.start..self.start + n;
        self.start = taken.end;
        Ok(&self.window[taken])
    }

    /// The next `n` bytes by reference: into the window where they fit, into `spill` where they do
    /// not. `n` is memory that is reserved, so it must have met a limit.
    ///
    /// # Errors
    /// The stream ends within them, or has failed; then nothing was taken.
    #[doc(alias = "qemu_get_buffer_in_place")]
    pub fn get_ref_or<'a>(&'a mut self, n: usize, spill: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        if n <= self.config.window {
            return self.get_ref(n);
        }
        spill.resize(n, 0);
        self.get_into(spill)?;
        Ok(spill)
    }

    /// Fills `out`: what is not read ahead and is large goes straight there.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then nothing was taken, but part of `out` may have
    /// been written.
    #[inline]
    #[doc(alias = "qemu_get_buffer")]
    pub fn get_into(&mut self, out: &mut [u8]) -> Result<()> {
        let end = self.start + out.len();
        if end <= self.end {
            out.copy_from_slice(&self.window[self.start..end]);
            self.start = end;
            return Ok(());
        }
        self.get_slowly(RamSliceMut::from_slice(out))
    }

    /// Fills guest memory: what is not read ahead and is large goes straight there.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then nothing was taken, but part of the memory may
    /// have been written.
    #[inline]
    #[doc(alias = "qemu_get_buffer")]
    pub fn get_ram(&mut self, mut out: RamSliceMut<'_>) -> Result<()> {
        let end = self.start + out.len();
        if end <= self.end {
            out.copy_from(&self.window[self.start..end]);
            self.start = end;
            return Ok(());
        }
        self.get_slowly(out)
    }

    /// Fills as much of `out` as the stream still has: less than all of it only at the end.
    ///
    /// # Errors
    /// The stream has failed; then nothing was taken, but part of `out` may have been written.
    #[doc(alias = "qemu_get_buffer")]
    pub fn get_up_to(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut out = RamSliceMut::from_slice(out);
        self.usable()?;
        self.take_into(&mut out)
    }

    /// A length byte and as many bytes, which may be none.
    ///
    /// # Errors
    /// The stream ends within them, or has failed; then nothing was taken.
    #[inline]
    #[doc(alias = "qemu_get_counted_string")]
    pub fn get_counted<'a>(&mut self, buf: &'a mut [u8; 255]) -> Result<&'a [u8]> {
        if self.start == self.end {
            self.demand(1)?;
        }
        let len = usize::from(self.window[self.start]);
        if self.end - self.start < 1 + len {
            self.demand(1 + len)?;
        }
        let from = self.start + 1;
        let text = &mut buf[..len];
        text.copy_from_slice(&self.window[from..from + len]);
        self.start = from + len;
        Ok(text)
    }

    /// Takes the next `n` bytes and drops them.
    ///
    /// # Errors
    /// The stream ends within them, or has failed. Of more than a window, some may have been taken:
    /// [`position`](Self::position) tells.
    #[inline]
    #[doc(alias = "qemu_file_skip")]
    pub fn skip(&mut self, n: u64) -> Result<()> {
        if n <= (self.end - self.start) as u64 {
            // Not more than a window, so it fits.
            self.start += usize::try_from(n).unwrap_or(0);
            return Ok(());
        }
        if self.skip_in_channel(n)? {
            return Ok(());
        }
        self.take_in_pieces(n, |_| Ok(()))
    }

    /// Goes over everything up to the end, and returns how many bytes that is. A seekable channel does not read
    /// them.
    ///
    /// # Errors
    /// The stream has failed.
    pub fn skip_rest(&mut self) -> Result<u64> {
        let start = self.position();
        // A channel says whether so many bytes are there, and not how many are. Each length is there once at most,
        // but for the first.
        for bits in (usize::BITS - self.config.window.leading_zeros() + 1..u64::BITS - 1).rev() {
            while self.skip_in_channel(1 << bits)? {}
        }
        while !self.peek_up_to(1)?.is_empty() {
            self.start = self.end;
        }
        Ok(self.position() - start)
    }

    /// Lets the channel go over what is not read ahead, if it can and it is worth a call.
    fn skip_in_channel(&mut self, n: u64) -> Result<bool> {
        self.usable()?;
        let beyond = n - (self.end - self.start) as u64;
        if beyond < self.config.window as u64 || self.config.descriptors > 0 {
            return Ok(false);
        }
        match self.channel.skip(beyond) {
            Ok(true) => {
                self.base += self.end as u64 + beyond;
                (self.start, self.end, self.tail) = (0, 0, 0);
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => Err(self.channel_failed(error)),
        }
    }

    /// Takes the next `n` bytes and writes them to `out`.
    ///
    /// # Errors
    /// The stream ends within them, or has failed; or `out` has, and that is the stream's error
    /// then, because some bytes may have been taken: [`position`](Self::position) tells.
    #[doc(alias = "qemu_file_get_to_fd")]
    pub fn copy_to(&mut self, n: u64, out: &mut dyn Write) -> Result<()> {
        self.take_in_pieces(n, |bytes| out.write_all(bytes))
    }

    fn take_in_pieces(
        &mut self,
        mut n: u64,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<()> {
        // What fits into a window comes whole or not at all.
        if let Some(whole) = usize::try_from(n).ok().filter(|n| *n <= self.config.window) {
            self.demand(whole)?;
        }
        while n > 0 {
            if self.start == self.end {
                self.demand(1)?;
            }
            let here = usize::try_from(n).unwrap_or(usize::MAX);
            let end = self.end.min(self.start.saturating_add(here));
            if let Err(error) = each(&self.window[self.start..end]) {
                let kind = ErrorKind::User(error.raw_os_error().unwrap_or(libc::EIO));
                let error = StreamError::with_source(kind, self.position(), error);
                return Err(self.fail(error));
            }
            n -= (end - self.start) as u64;
            self.start = end;
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn get_slowly(&mut self, mut out: RamSliceMut<'_>) -> Result<()> {
        self.usable()?;
        let got = self.take_into(&mut out)?;
        if got == out.len() {
            return Ok(());
        }
        self.put_back(&out, got);
        Err(self.ends_early(out.len(), got))
    }

    /// Fills `out`, and tells how much of it: all, unless the stream ends. Where that fails,
    /// nothing is taken.
    fn take_into(&mut self, out: &mut RamSliceMut<'_>) -> Result<usize> {
        let mut got = 0;
        while got < out.len() {
            let mut rest = out.skip(got);
            if self.start < self.end {
                let copied = rest.copy_from(&self.window[self.start..self.end]);
                self.start += copied;
                got += copied;
                continue;
            }
            if self.at_end {
                break;
            }
            // Descriptors come only with what is read into the window.
            let is_direct = rest.len() >= self.config.direct_min && self.config.descriptors == 0;
            let fetched = if is_direct {
                self.fetch_into(&mut rest)
            } else {
                self.fetch(rest.len().min(self.config.window)).map(|()| 0)
            };
            match fetched {
                Ok(direct) => got += direct,
                Err(error) => {
                    self.put_back(out, got);
                    return Err(error);
                }
            }
        }
        Ok(got)
    }
}

/// Gives what has been read ahead, and otherwise what one read of the channel brings.
impl<C: ReadChannel> Read for Reader<C> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && !self.at_end && !out.is_empty() {
            if out.len() >= self.config.direct_min && self.config.descriptors == 0 {
                return Ok(self.fetch_into(&mut RamSliceMut::from_slice(out))?);
            }
            self.fetch(1)?;
        }
        self.check()?;
        let len = out.len().min(self.end - self.start);
        out[..len].copy_from_slice(&self.window[self.start..self.start + len]);
        self.start += len;
        Ok(len)
    }
}

impl<C: ReadChannel> BufRead for Reader<C> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end && !self.at_end {
            self.fetch(1)?;
        }
        self.check()?;
        Ok(self.buffered())
    }

    fn consume(&mut self, n: usize) {
        self.start += n.min(self.end - self.start);
    }
}
