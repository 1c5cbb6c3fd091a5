//! The writing stream.

use std::io;

use super::abort::AbortFlag;
use super::{AbortHandle, ErrorKind, Result, StreamError};
use crate::channel::{RamSlice, Segment, WriteChannel};

/// The sizes of a [`Writer`].
#[derive(Debug, Clone)]
pub struct WriterConfig {
    /// Bytes of the buffer for what is copied.
    pub buffer: usize,
    /// Pieces that go out in one write.
    pub max_segments: usize,
    /// Bytes that wait at most, copied or referred to.
    pub max_queued: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            buffer: 32 << 10,
            max_segments: 64,
            max_queued: 1 << 20,
        }
    }
}

/// A buffered stream that is written.
///
/// A `put` never fails: what comes after the first error is dropped, and the error is told by
/// [`flush`](Writer::flush), [`check`](Writer::check) and [`finish`](Writer::finish). Dropping a
/// writer sends nothing: half a stream after a panic is worse than none.
#[derive(Debug)]
#[doc(alias = "QEMUFile")]
pub struct Writer<'ram, C> {
    channel: C,
    /// Copied bytes that wait are `buffer[..filled]`.
    buffer: Box<[u8]>,
    filled: usize,
    /// `buffer[run..filled]` is not in the queue yet.
    run: usize,
    queue: Vec<Piece<'ram>>,
    /// Bytes in the queue that are not in the buffer.
    referenced: usize,
    /// Bytes of what waits that the channel has taken already.
    taken: usize,
    /// Bytes that the channel has taken of everything that does not wait any more.
    flushed: u64,
    max_segments: usize,
    max_queued: usize,
    error: Option<StreamError>,
    abort: AbortFlag,
}

/// A piece of what waits, in stream order.
#[derive(Debug)]
enum Piece<'ram> {
    /// Copied: a range of the buffer.
    Copied(usize, usize),
    /// Referred to where it is.
    Ram(RamSlice<'ram>),
}

/// A stream that could not be finished, with what is left of it.
#[derive(Debug, thiserror::Error)]
#[error("{unsent} bytes of the stream were not sent")]
pub struct FinishError<C: std::fmt::Debug> {
    /// Why.
    #[source]
    pub error: StreamError,
    /// The channel.
    pub channel: C,
    /// Bytes that were put and that the channel has not taken.
    pub unsent: u64,
}

impl<'ram, C: WriteChannel> Writer<'ram, C> {
    /// A stream over `channel`, with the default sizes.
    #[doc(alias = "qemu_fopen_ops")]
    pub fn new(channel: C) -> Self {
        Self::with_config(channel, &WriterConfig::default())
    }

    /// A stream over `channel`. A buffer has at least 4 KiB, and at least two pieces go out in one
    /// write.
    pub fn with_config(channel: C, config: &WriterConfig) -> Self {
        let max_segments = config.max_segments.max(2);
        Self {
            channel,
            buffer: vec![0; config.buffer.max(4 << 10)].into(),
            filled: 0,
            run: 0,
            queue: Vec::with_capacity(max_segments),
            referenced: 0,
            taken: 0,
            flushed: 0,
            max_segments,
            max_queued: config.max_queued,
            error: None,
            abort: AbortFlag::default(),
        }
    }

    /// One byte.
    #[inline]
    #[doc(alias = "qemu_put_byte")]
    pub fn put_u8(&mut self, value: u8) {
        self.put_array(value.to_be_bytes());
    }

    /// A big-endian 16-bit number.
    #[inline]
    #[doc(alias = "qemu_put_be16")]
    pub fn put_be16(&mut self, value: u16) {
        self.put_array(value.to_be_bytes());
    }

    /// A big-endian 32-bit number.
    #[inline]
    #[doc(alias = "qemu_put_be32")]
    pub fn put_be32(&mut self, value: u32) {
        self.put_array(value.to_be_bytes());
    }

    /// A big-endian 64-bit number.
    #[inline]
    #[doc(alias = "qemu_put_be64")]
    pub fn put_be64(&mut self, value: u64) {
        self.put_array(value.to_be_bytes());
    }

    /// A few bytes by value.
    #[inline]
    pub fn put_array<const N: usize>(&mut self, array: [u8; N]) {
        if let Some(room) = self.buffer[self.filled..].first_chunk_mut::<N>() {
            *room = array;
            self.filled += N;
        } else {
            self.put_bytes_slowly(&array);
        }
    }

    /// Bytes, copied; what does not fit into the buffer is sent from where it is, at once.
    #[inline]
    #[doc(alias = "qemu_put_buffer")]
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if let Some(room) = self.buffer.get_mut(self.filled..end) {
            room.copy_from_slice(bytes);
            self.filled = end;
        } else {
            self.put_bytes_slowly(bytes);
        }
    }

    /// A length byte, and as many bytes.
    ///
    /// # Errors
    /// There are more than 255 of them; nothing was put.
    #[doc(alias = "qemu_put_counted_string")]
    pub fn put_counted(&mut self, bytes: &[u8]) -> Result<()> {
        let Ok(len) = u8::try_from(bytes.len()) else {
            let kind = ErrorKind::TooLong {
                len: bytes.len(),
                max: 255,
            };
            return Err(StreamError::new(kind, self.queued_position()));
        };
        self.put_u8(len);
        self.put_bytes(bytes);
        Ok(())
    }

    /// Bytes that stay where they are until they are sent, by the next [`flush`](Writer::flush) at
    /// the latest.
    #[inline]
    #[doc(alias = "qemu_put_buffer_async")]
    pub fn put_borrowed(&mut self, bytes: &'ram [u8]) {
        self.put_ram(RamSlice::from_slice(bytes));
    }

    /// Guest memory that stays where it is until it is sent. It may change until then, and what is
    /// sent is what it holds at that moment.
    #[inline]
    #[doc(alias = "qemu_put_buffer_async")]
    pub fn put_ram(&mut self, memory: RamSlice<'ram>) {
        if memory.is_empty() {
            return;
        }
        // A run of copied bytes and this piece.
        if self.queue.len() + 2 > self.max_segments
            || self.pending() + memory.len() > self.max_queued
        {
            self.make_room();
        }
        self.close_run();
        self.referenced += memory.len();
        self.queue.push(Piece::Ram(memory));
    }

    /// Sends everything that was put.
    ///
    /// # Errors
    /// The first error of the stream; or that the channel is not ready, and then nothing is lost:
    /// flush again later.
    #[doc(alias = "qemu_fflush")]
    pub fn flush(&mut self) -> Result<()> {
        self.send(&[]).map(drop)?;
        let flushed = self.channel.flush();
        flushed.map_err(|error| self.failed(error))
    }

    /// Sends everything that was put, and gives the channel back.
    ///
    /// # Errors
    /// The first error of the stream, with the channel and what was not sent.
    #[doc(alias = "qemu_fclose")]
    pub fn finish(mut self) -> Result<C, FinishError<C>>
    where
        C: std::fmt::Debug,
    {
        match self.flush() {
            Ok(()) => Ok(self.channel),
            Err(error) => Err(FinishError {
                error,
                unsent: self.queued_position() - self.flushed_position(),
                channel: self.channel,
            }),
        }
    }

    /// Bytes put so far.
    #[inline]
    #[doc(alias = "qemu_ftell_fast")]
    pub fn queued_position(&self) -> u64 {
        self.flushed + (self.filled + self.referenced) as u64
    }

    /// Bytes that the channel has taken.
    #[doc(alias = "qemu_ftell")]
    pub fn flushed_position(&self) -> u64 {
        self.flushed + self.taken as u64
    }

    /// Bytes that wait.
    #[inline]
    pub fn pending(&self) -> usize {
        self.filled + self.referenced - self.taken
    }

    /// The first error, if there was one.
    #[doc(alias = "qemu_file_get_error")]
    pub fn error(&self) -> Option<&StreamError> {
        self.error.as_ref()
    }

    /// Whether everything up to now could be taken.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn check(&self) -> Result<()> {
        self.error.clone().map_or(Ok(()), Err)
    }

    /// Makes the stream fail, unless it has failed already: nothing is sent any more.
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

    /// Puts the copied bytes that are not in the queue yet there.
    #[inline]
    fn close_run(&mut self) {
        if self.run < self.filled {
            self.queue.push(Piece::Copied(self.run, self.filled));
            self.run = self.filled;
        }
    }

    #[cold]
    fn put_bytes_slowly(&mut self, bytes: &[u8]) {
        match self.send(bytes) {
            // The channel was not ready for all of it: the rest has to be kept.
            Ok(sent) => self.keep(&bytes[sent..]),
            Err(error) if !error.is_sticky() => self.keep(bytes),
            Err(_) => {}
        }
    }

    /// Copies bytes behind what waits, whatever room that takes.
    fn keep(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if end > self.buffer.len() {
            let mut larger = std::mem::take(&mut self.buffer).into_vec();
            larger.resize(end.next_power_of_two(), 0);
            self.buffer = larger.into();
        }
        self.buffer[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
    }

    #[cold]
    fn make_room(&mut self) {
        // An error is kept; a channel that is not ready leaves what waits, and the bounds are those
        // of a channel that is.
        let _ = self.send(&[]);
    }

    /// Sends what waits, and then `more`; tells how many bytes of `more` have gone. Nothing waits
    /// any more, unless the channel was not ready.
    fn send(&mut self, more: &[u8]) -> Result<usize> {
        self.close_run();
        let waiting = self.filled + self.referenced;
        let total = waiting + more.len();
        let mut sent = self.usable();
        while sent.is_ok() && self.taken < total {
            let segments = segments(&self.buffer, &self.queue, more, self.taken);
            sent = match self.channel.write_segments(&segments) {
                Ok(0) => Err(self.failed(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.taken += written;
                    self.usable()
                }
                Err(error) => Err(self.failed(error)),
            };
        }
        match sent {
            Err(error) if !error.is_sticky() && self.taken < waiting => return Err(error),
            Err(error) if !error.is_sticky() => {}
            Err(error) => {
                // What waits goes nowhere any more.
                self.flushed += self.taken as u64;
                self.reset();
                return Err(error);
            }
            Ok(()) => {}
        }
        let sent_of_more = self.taken - waiting;
        self.flushed += self.taken as u64;
        self.reset();
        Ok(sent_of_more)
    }

    fn reset(&mut self) {
        self.queue.clear();
        (self.filled, self.run, self.referenced, self.taken) = (0, 0, 0, 0);
    }

    fn usable(&mut self) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.abort.is_set() {
            let error = StreamError::new(ErrorKind::Aborted, self.flushed_position());
            return Err(self.error.insert(error).clone());
        }
        Ok(())
    }

    /// What an error of the channel means for the stream.
    fn failed(&mut self, error: io::Error) -> StreamError {
        let at = self.flushed_position();
        let error = match error.kind() {
            io::ErrorKind::WouldBlock => return StreamError::from_io(error, at),
            io::ErrorKind::WriteZero => StreamError::new(ErrorKind::WriteZero, at),
            _ if self.abort.is_set() => StreamError::new(ErrorKind::Aborted, at),
            _ => StreamError::from_io(error, at),
        };
        self.error.get_or_insert(error).clone()
    }
}

/// What waits and `more`, without the first `taken` bytes, as the kernel takes it.
fn segments<'a>(
    buffer: &'a [u8],
    queue: &'a [Piece<'_>],
    more: &'a [u8],
    mut taken: usize,
) -> Vec<Segment<'a>> {
    let mut segments = Vec::with_capacity(queue.len() + 1);
    let pieces = queue.iter().map(|piece| match piece {
        Piece::Copied(from, to) => RamSlice::from_slice(&buffer[*from..*to]),
        Piece::Ram(memory) => *memory,
    });
    for memory in pieces.chain([RamSlice::from_slice(more)]) {
        let skipped = taken.min(memory.len());
        taken -= skipped;
        if let Some(rest) = memory
            .subslice(skipped..memory.len())
            .filter(|rest| !rest.is_empty())
        {
            segments.push(Segment::ram(rest));
        }
    }
    segments
}
