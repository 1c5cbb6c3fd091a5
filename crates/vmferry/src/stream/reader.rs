//! The reading stream.

use std::io;

use super::abort::AbortFlag;
use super::{AbortHandle, ErrorKind, Result, StreamError};
use crate::channel::{ReadChannel, SegmentMut};

/// The sizes of a [`Reader`].
#[derive(Debug, Clone)]
pub struct ReaderConfig {
    /// Bytes of the window: the most that can be read ahead, peeked at, or handed out by reference.
    pub window: usize,
    /// Reads of at least as many bytes as this go straight to where they belong.
    pub direct_min: usize,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            window: 256 << 10,
            direct_min: 4 << 10,
        }
    }
}

/// A buffered stream that is read.
///
/// Everything is all or nothing: where bytes are missing, nothing is taken. The end of the stream is
/// an error only when a byte behind it is demanded, so reading exactly to the end is clean.
#[derive(Debug)]
#[doc(alias = "QEMUFile")]
pub struct Reader<C> {
    channel: C,
    window: Box<[u8]>,
    /// What has been read and not been taken is `window[start..end]`.
    start: usize,
    end: usize,
    /// Bytes read from the channel.
    fetched: u64,
    direct_min: usize,
    at_end: bool,
    error: Option<StreamError>,
    abort: AbortFlag,
}

impl<C: ReadChannel> Reader<C> {
    /// A stream over `channel`, with the default sizes.
    #[doc(alias = "qemu_fopen_ops")]
    pub fn new(channel: C) -> Self {
        Self::with_config(channel, &ReaderConfig::default())
    }

    /// A stream over `channel`. A window has at least 4 KiB.
    pub fn with_config(channel: C, config: &ReaderConfig) -> Self {
        Self {
            channel,
            window: vec![0; config.window.max(4 << 10)].into(),
            start: 0,
            end: 0,
            fetched: 0,
            direct_min: config.direct_min.max(1),
            at_end: false,
            error: None,
            abort: AbortFlag::default(),
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// The stream ends, or has failed.
    #[inline]
    #[doc(alias = "qemu_get_byte")]
    pub fn get_u8(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.get_array()?))
    }

    /// A big-endian 16-bit number.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then nothing was taken.
    #[inline]
    #[doc(alias = "qemu_get_be16")]
    pub fn get_be16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.get_array()?))
    }

    /// A big-endian 32-bit number.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then nothing was taken.
    #[inline]
    #[doc(alias = "qemu_get_be32")]
    pub fn get_be32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.get_array()?))
    }

    /// A big-endian 64-bit number.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then nothing was taken.
    #[inline]
    #[doc(alias = "qemu_get_be64")]
    pub fn get_be64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.get_array()?))
    }

    /// The next `N` bytes by value.
    ///
    /// # Errors
    /// The stream ends within them, or has failed; then nothing was taken.
    #[inline]
    pub fn get_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        if let Some(array) = self.buffered().first_chunk::<N>() {
            let array = *array;
            self.start += N;
            return Ok(array);
        }
        self.demand(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.window[self.start..self.start + N]);
        self.start += N;
        Ok(array)
    }

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

    /// Fills `out`: what is not read ahead and is large goes straight there.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then part of `out` may have been written, and the
    /// stream is of no use any more.
    #[doc(alias = "qemu_get_buffer")]
    pub fn get_into(&mut self, out: &mut [u8]) -> Result<()> {
        let wanted = out.len();
        let buffered = wanted.min(self.end - self.start);
        let (head, mut rest) = out.split_at_mut(buffered);
        head.copy_from_slice(&self.window[self.start..self.start + buffered]);
        self.start += buffered;
        while rest.len() >= self.direct_min {
            let read = self.fetch_into(rest)?;
            if read == 0 {
                return Err(self.ends_early(wanted, wanted - rest.len()));
            }
            rest = &mut rest[read..];
        }
        // What came behind the last direct read, or less than is worth one.
        if !rest.is_empty() {
            let last = self.get_ref(rest.len())?;
            rest.copy_from_slice(last);
        }
        Ok(())
    }

    /// Up to `n` bytes that come next, without taking them; fewer only at the end of the stream.
    ///
    /// # Errors
    /// The stream has failed, or `n` is more than a window.
    #[doc(alias = "qemu_peek_buffer")]
    #[doc(alias = "qemu_peek_byte")]
    pub fn peek_up_to(&mut self, n: usize) -> Result<&[u8]> {
        while self.end - self.start < n && !self.at_end {
            self.fetch(n)?;
        }
        if let (Some(error), true) = (&self.error, self.start == self.end) {
            return Err(error.clone());
        }
        let to = self.end.min(self.start + n);
        Ok(&self.window[self.start..to])
    }

    /// What has been read ahead and not been taken.
    #[inline]
    pub fn buffered(&self) -> &[u8] {
        &self.window[self.start..self.end]
    }

    /// Takes the next `n` bytes and drops them.
    ///
    /// # Errors
    /// The stream ends within them, or has failed.
    #[doc(alias = "qemu_file_skip")]
    pub fn skip(&mut self, mut n: u64) -> Result<()> {
        loop {
            let here = usize::try_from(n)
                .unwrap_or(usize::MAX)
                .min(self.end - self.start);
            self.start += here;
            n -= here as u64;
            if n == 0 {
                return Ok(());
            }
            self.demand(1)?;
        }
    }

    /// Bytes taken.
    #[doc(alias = "qemu_ftell")]
    #[inline]
    pub fn position(&self) -> u64 {
        self.fetched - (self.end - self.start) as u64
    }

    /// Bytes read from the channel, taken or not.
    #[doc(alias = "qemu_ftell_fast")]
    pub fn fetched(&self) -> u64 {
        self.fetched
    }

    /// The first error, if there was one.
    #[doc(alias = "qemu_file_get_error")]
    pub fn error(&self) -> Option<&StreamError> {
        self.error.as_ref()
    }

    /// Makes the stream fail, unless it has failed already.
    #[doc(alias = "qemu_file_set_error")]
    pub fn fail_with(&mut self, error: StreamError) {
        self.error.get_or_insert(error);
    }

    /// What ends this stream from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.handle(self.channel.shutdown_handle())
    }

    /// The channel.
    pub fn channel(&self) -> &C {
        &self.channel
    }

    /// The channel, and what was read ahead and not taken.
    pub fn into_parts(self) -> (C, Vec<u8>) {
        let rest = self.window[self.start..self.end].to_vec();
        (self.channel, rest)
    }

    /// Makes sure that `n` bytes are there.
    #[cold]
    fn demand(&mut self, n: usize) -> Result<()> {
        while self.end - self.start < n {
            if self.at_end {
                return Err(self.ends_early(n, self.end - self.start));
            }
            self.fetch(n)?;
        }
        Ok(())
    }

    fn ends_early(&mut self, wanted: usize, got: usize) -> StreamError {
        let kind = ErrorKind::UnexpectedEof { wanted, got };
        let error = StreamError::new(kind, self.position());
        self.error.get_or_insert(error).clone()
    }

    /// Reads once into the window, in which `n` bytes from the start on must find room.
    fn fetch(&mut self, n: usize) -> Result<()> {
        if n > self.window.len() {
            let max = self.window.len();
            return Err(StreamError::new(
                ErrorKind::TooLong { len: n, max },
                self.position(),
            ));
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.window.len() - self.start < n {
            self.window.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.usable()?;
        let room = &mut self.window[self.end..];
        let read = self.channel.read_segments(&mut [SegmentMut::new(room)]);
        self.end += self.account(read)?;
        Ok(())
    }

    /// Reads once into `out`, which comes next, and what is behind it into the window, which is
    /// empty. Tells how many bytes of `out` are there.
    fn fetch_into(&mut self, out: &mut [u8]) -> Result<usize> {
        self.usable()?;
        (self.start, self.end) = (0, 0);
        let len = out.len();
        let segments = &mut [SegmentMut::new(out), SegmentMut::new(&mut self.window)];
        let read = self.channel.read_segments(segments);
        let read = self.account(read)?;
        self.end = read.saturating_sub(len);
        Ok(read.min(len))
    }

    /// What a read of the channel means for the stream.
    fn account(&mut self, read: io::Result<usize>) -> Result<usize> {
        match read {
            Ok(read) => {
                // After a shutdown, the end of the transport says nothing of the stream.
                self.usable()?;
                self.at_end = read == 0;
                self.fetched += read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(StreamError::from_io(error, self.position()))
            }
            Err(error) => {
                self.usable()?;
                let error = StreamError::from_io(error, self.position());
                Err(self.error.insert(error).clone())
            }
        }
    }

    fn usable(&mut self) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.abort.is_set() {
            let error = StreamError::new(ErrorKind::Aborted, self.position());
            return Err(self.error.insert(error).clone());
        }
        Ok(())
    }
}
