//! How bytes come from the channel.

use std::io;
use std::mem;
use std::time::Duration;

use super::super::{ErrorKind, OnWouldBlock, Result, StreamError};
use super::Reader;
use crate::channel::{RamSliceMut, ReadChannel, SegmentMut};

impl<C: ReadChannel> Reader<C> {
    /// Waits until the channel may be ready.
    ///
    /// # Errors
    /// The time is over, which does not harm the stream; or the stream has failed.
    #[doc(alias = "qemu_fill_buffer")]
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        self.usable()?;
        match self.channel.wait(timeout) {
            Ok(()) => self.usable(),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(StreamError::new(ErrorKind::WouldBlock, self.position()))
            }
            Err(error) => Err(self.channel_failed(error)),
        }
    }

    /// Does something, and waits for the channel where it is not ready.
    pub(crate) fn waiting<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = mem::replace(&mut self.config.on_would_block, OnWouldBlock::Wait);
        let done = act(self);
        self.config.on_would_block = before;
        done
    }

    /// Makes the window `size` bytes large, where `n` bytes do not fit into it.
    pub(crate) fn widen_for(&mut self, n: usize, size: usize) {
        if n <= self.config.window {
            return;
        }
        if self.window.len() < size {
            let mut window = vec![0; size];
            window[..self.tail].copy_from_slice(&self.window[..self.tail]);
            self.window = window.into();
        }
        self.config.window = size;
    }

    /// Makes sure that `n` bytes are there.
    #[cold]
    pub(super) fn demand(&mut self, n: usize) -> Result<()> {
        if n > self.config.window {
            self.usable()?;
            return Err(self.too_long(n));
        }
        while self.end - self.start < n {
            if self.at_end {
                self.usable()?;
                return Err(self.ends_early(n, self.end - self.start));
            }
            self.fetch(n)?;
        }
        Ok(())
    }

    /// The stream ends where `wanted` bytes were demanded and `got` are there.
    pub(super) fn ends_early(&mut self, wanted: usize, got: usize) -> StreamError {
        let kind = ErrorKind::UnexpectedEof { wanted, got };
        let error = StreamError::new(kind, self.position());
        self.fail(error)
    }

    /// Reads once into the window, where `n` bytes from the start on are wanted: more than are
    /// there, and not more than a window.
    pub(super) fn fetch(&mut self, n: usize) -> Result<()> {
        self.usable()?;
        self.make_room();
        let ahead = self.channel.read_ahead().max(n - self.end.min(n));
        let room = self.end..self.window.len().min(self.end.saturating_add(ahead));
        let len = room.len();
        let read = loop {
            let room = &mut self.window[room.clone()];
            let read = if self.config.descriptors == 0 {
                self.channel.read_segments(&mut [SegmentMut::new(room)])
            } else {
                let mut received = Vec::new();
                let read = self.channel.read_with_descriptors(room, &mut received);
                // They belong to the last byte of the read.
                let len = read.as_ref().map_or(0, |read| *read);
                let at = (self.base + (self.end + len) as u64).saturating_sub(1);
                let received = received.into_iter().map(|descriptor| (at, descriptor));
                self.descriptors.extend(received);
                read
            };
            match read {
                Err(error) if self.waits_for(&error) => self.wait(None)?,
                read => break self.account(read, len)?,
            }
        };
        self.end += read;
        self.tail = self.end;
        self.check_descriptors()
    }

    /// Reads once into `out`, which comes next, and what is behind it into the window, which is
    /// empty. Tells how many bytes of `out` are there.
    pub(super) fn fetch_into(&mut self, out: &mut RamSliceMut<'_>) -> Result<usize> {
        self.usable()?;
        self.make_room();
        let len = out.len();
        let ahead = self.channel.read_ahead().min(self.window.len());
        let read = loop {
            let segments = &mut [
                SegmentMut::ram(out.skip(0)),
                SegmentMut::new(&mut self.window[..ahead]),
            ];
            match self.channel.read_segments(segments) {
                Err(error) if self.waits_for(&error) => self.wait(None)?,
                read => break self.account(read, len + ahead)?,
            }
        };
        let direct = read.min(len);
        self.base += direct as u64;
        self.end = read - direct;
        self.tail = self.end;
        Ok(direct)
    }

    /// Puts bytes back that were taken last; the window is empty.
    pub(super) fn put_back(&mut self, bytes: &RamSliceMut<'_>, len: usize) {
        if len == 0 {
            return;
        }
        let at = self.position();
        let kept = self.window[self.start..self.tail].to_vec();
        if len + kept.len() > self.window.len() {
            // Only as large as what the caller wanted to have at once.
            self.window = vec![0; len + kept.len()].into();
        }
        bytes.copy_to(&mut self.window[..len]);
        self.window[len..len + kept.len()].copy_from_slice(&kept);
        self.base = at - len as u64;
        self.start = 0;
        self.tail = len + kept.len();
        self.end = if self.error.is_some() { 0 } else { self.tail };
    }

    /// Whether the stream may call its channel.
    pub(super) fn usable(&mut self) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        match self.abort.reason(self.position()) {
            Some(reason) => Err(self.fail(reason)),
            None => Ok(()),
        }
    }

    pub(super) fn too_long(&self, len: usize) -> StreamError {
        let max = self.config.window;
        StreamError::new(ErrorKind::TooLong { len, max }, self.position())
    }

    /// What an error of the channel means for the stream: its end, unless the channel was not ready.
    #[cold]
    pub(super) fn channel_failed(&mut self, error: io::Error) -> StreamError {
        let at = self.position();
        if error.kind() == io::ErrorKind::WouldBlock {
            return StreamError::new(ErrorKind::WouldBlock, at);
        }
        let reason = self.abort.reason(at);
        self.fail(reason.unwrap_or_else(|| StreamError::from_io(error, at)))
    }

    pub(super) fn waits_for(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock
            && self.config.on_would_block == OnWouldBlock::Wait
    }

    /// Moves what is read ahead to the window's start.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.window.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.start = 0;
            self.tail = self.end;
        }
    }

    /// What a read of the channel into `room` bytes means for the stream.
    fn account(&mut self, read: io::Result<usize>, room: usize) -> Result<usize> {
        match read {
            Ok(read) if read > room => {
                let what =
                    format!("a channel had room for {room} bytes and says that it gave {read}");
                Err(self.channel_failed(io::Error::other(what)))
            }
            Ok(read) => {
                // After a shutdown, the end of the transport says nothing of the stream.
                self.usable()?;
                self.at_end = read == 0;
                self.fetched += read as u64;
                Ok(read)
            }
            Err(error) => Err(self.channel_failed(error)),
        }
    }

    /// Forgets descriptors that nobody took, and fails if too many are waiting.
    fn check_descriptors(&mut self) -> Result<()> {
        if self.descriptors.len() <= self.config.descriptors {
            return Ok(());
        }
        self.forget_descriptors();
        if self.descriptors.len() <= self.config.descriptors {
            return Ok(());
        }
        let error = StreamError::new(ErrorKind::TooManyDescriptors, self.position());
        Err(self.fail(error))
    }
}
