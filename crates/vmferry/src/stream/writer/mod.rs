//! The writing stream.
//!
//! | file | what |
//! |---|---|
//! | this one | the type, its positions, its errors, its end |
//! | `put` | everything that can be put into it |
//! | `send` | how what waits reaches the channel |
//! | `zero_copy` | what the kernel reads in its own time |
//! | `place` | offsets and descriptors: what is not just the next byte |

mod place;
mod put;
mod send;
mod zero_copy;

pub use put::Reserved;
pub use zero_copy::ZeroCopyReport;

use super::abort::AbortFlag;
use super::release::{Ledger, NoRelease, ReleaseReport, Releaser};
use super::{AbortHandle, ErrorKind, OnWouldBlock, RateLimiter, Result, StreamError};
use crate::channel::WriteChannel;
use crate::sys::SendQueue;

/// The sizes of a [`Writer`], and what it does where it would have to wait.
#[derive(Debug, Clone)]
pub struct WriterConfig {
    /// Bytes of the buffer for what is copied; at least 4 KiB.
    pub buffer: usize,
    /// Pieces that go out in one write; at least two, at most 1022.
    pub max_segments: usize,
    /// Bytes that wait at most, copied or referred to. A piece that is larger by itself is sent at
    /// once.
    pub max_queued: usize,
    /// Send without copying where at least so many bytes are referred to and the channel can do
    /// it. It is worth it from about 16 KiB on, and only on a real network.
    pub zero_copy_min: Option<usize>,
    /// What [`flush`](Writer::flush) does where the channel is not ready.
    pub on_would_block: OnWouldBlock,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            // Eight pages, each with the head of its record: a page that room was reserved for is not split.
            buffer: (32 << 10) + 64,
            max_segments: 64,
            max_queued: 1 << 20,
            zero_copy_min: None,
            on_would_block: OnWouldBlock::Return,
        }
    }
}

/// A buffered stream that is written.
///
/// A `put` never fails: what comes after the first error is dropped, and the error is told by
/// [`flush`](Self::flush), [`check`](Self::check) and [`finish`](Self::finish). A `put` waits only
/// when one of the [bounds](WriterConfig) is reached and the channel is not ready: on a channel that
/// does not block, [`flush`](Self::flush) until nothing waits before putting more.
///
/// Memory that is referred to must not be reused before [`flush`](Self::flush) (or, where sends
/// without copying are on, [`sync`](Self::sync)) has come back without an error; where that matters,
/// the borrow sees to it.
///
/// Dropping a writer sends nothing: half a stream after a panic is worse than none.
#[derive(Debug)]
#[must_use = "a writer that is dropped sends nothing: finish it"]
#[doc(alias = "QEMUFile")]
#[doc(alias = "qemu_file_mode_is_not_valid")]
#[doc(alias = "add_to_iovec")]
pub struct Writer<'ram, C, M = NoRelease> {
    queue: SendQueue<'ram>,
    channel: C,
    /// Bytes of the queues that are empty again.
    flushed: u64,
    external: u64,
    failure: Option<Failure>,
    abort: AbortFlag,
    ledger: Ledger<'ram, M>,
    zero_copy: zero_copy::ZeroCopy<'ram>,
    config: WriterConfig,
}

/// The first error, and what had been put until then.
#[derive(Debug)]
struct Failure {
    error: StreamError,
    queued: u64,
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

impl<C: WriteChannel> Writer<'_, C> {
    /// A stream over `channel`, with the default sizes.
    #[doc(alias = "qemu_fopen_ops")]
    pub fn new(channel: C) -> Self {
        Self::with_config(channel, &WriterConfig::default())
    }

    /// A stream over `channel`.
    pub fn with_config(channel: C, config: &WriterConfig) -> Self {
        Self::with_releaser(channel, config, NoRelease)
    }
}

impl<C: WriteChannel, M: Releaser> Writer<'_, C, M> {
    /// A stream over `channel` that gives guest memory back as `releaser` does it, where
    /// [told so](Self::put_ram).
    pub fn with_releaser(channel: C, config: &WriterConfig, releaser: M) -> Self {
        let config = WriterConfig {
            buffer: config.buffer.max(4 << 10),
            max_segments: config.max_segments.clamp(2, 1022),
            ..config.clone()
        };
        Self {
            queue: new_queue(&config),
            zero_copy: zero_copy::ZeroCopy::new(&channel, &config),
            channel,
            flushed: 0,
            external: 0,
            failure: None,
            abort: AbortFlag::default(),
            ledger: Ledger::new(releaser),
            config,
        }
    }

    /// Sends everything that was put, waits until the channel is through with it, and gives the
    /// channel back.
    ///
    /// # Errors
    /// The first error of the stream, with the channel and how much was not sent.
    pub fn finish(mut self) -> Result<C, FinishError<C>>
    where
        C: std::fmt::Debug,
    {
        match self.settle() {
            Ok(()) => Ok(self.channel),
            Err(error) => Err(FinishError {
                error,
                unsent: self.queued_position() - self.flushed_position(),
                channel: self.channel,
            }),
        }
    }

    /// [Finishes](Self::finish) the stream, and closes its channel, also where the stream failed.
    ///
    /// # Errors
    /// The first error of the stream; otherwise what [closing](WriteChannel::close) says.
    #[doc(alias = "qemu_fclose")]
    pub fn close(mut self) -> Result<()> {
        let settled = self.settle();
        let at = self.flushed_position();
        let closed = self.channel.close();
        settled?;
        closed.map_err(|error| StreamError::from_io(error, at))
    }

    /// The channel, without sending what waits; and what waits is lost.
    pub fn into_channel(self) -> C {
        self.channel
    }

    /// The channel.
    pub fn channel(&self) -> &C {
        &self.channel
    }

    /// The channel, to change how it behaves. What is written to it directly is not part of the
    /// stream.
    pub fn channel_mut(&mut self) -> &mut C {
        &mut self.channel
    }

    /// Bytes put so far; behind an error, those put before it.
    #[inline]
    #[doc(alias = "qemu_ftell_fast")]
    pub fn queued_position(&self) -> u64 {
        match &self.failure {
            None => self.flushed + self.queue.queued() as u64,
            Some(failure) => failure.queued,
        }
    }

    /// Bytes that the channel has taken.
    #[doc(alias = "qemu_ftell")]
    pub fn flushed_position(&self) -> u64 {
        match &self.failure {
            None => self.flushed + self.queue.taken() as u64,
            Some(_) => self.flushed,
        }
    }

    /// Bytes that wait.
    #[inline]
    pub fn pending(&self) -> usize {
        match &self.failure {
            None => self.queue.pending(),
            Some(_) => 0,
        }
    }

    /// Counts bytes that went to the destination by another way, say by a hook. They are not part
    /// of the stream: no position moves.
    #[doc(alias = "qemu_update_position")]
    pub fn account_external(&mut self, bytes: u64) {
        self.external += bytes;
    }

    /// Bytes put so far, and those that went by another way: what a
    /// [`RateLimiter`] wants to know.
    #[inline]
    pub fn transferred(&self) -> u64 {
        self.queued_position() + self.external
    }

    /// Whether to put no more for now: more than its budget was sent in this window by this stream,
    /// or the stream has failed and what is put goes nowhere. For several streams that share a
    /// limiter, add up what they have [transferred](Self::transferred).
    #[inline]
    #[doc(alias = "qemu_file_rate_limit")]
    pub fn is_held_back(&self, limiter: &RateLimiter) -> bool {
        self.failure.is_some() || limiter.exceeded(self.transferred())
    }

    /// What became of the memory that was to be given back.
    pub fn release_report(&self) -> &ReleaseReport {
        self.ledger.report()
    }

    /// How the sends without copying went.
    pub fn zero_copy_report(&self) -> ZeroCopyReport {
        self.zero_copy.report(&self.channel)
    }

    /// The first error, if there was one.
    #[doc(alias = "qemu_file_get_error")]
    pub fn error(&self) -> Option<&StreamError> {
        self.failure.as_ref().map(|failure| &failure.error)
    }

    /// Whether everything up to now could be taken.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn check(&self) -> Result<()> {
        self.error().cloned().map_or(Ok(()), Err)
    }

    /// Makes the stream fail, unless it has failed already: nothing is sent any more, not even what
    /// waits.
    #[doc(alias = "qemu_file_set_error")]
    pub fn fail_with(&mut self, error: StreamError) {
        self.fail(error);
    }

    /// What ends this stream from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.handle(self.channel.shutdown_handle())
    }

    /// Keeps the first error, and returns it.
    fn fail(&mut self, error: StreamError) -> StreamError {
        if let Some(failure) = &self.failure {
            return failure.error.clone();
        }
        let queued = self.queued_position();
        self.flushed = self.flushed_position();
        // What waits goes nowhere any more; but the kernel may still read some of it.
        if !self.retire_queue() {
            self.queue.reset();
        }
        let failure = Failure {
            error: error.clone(),
            queued,
        };
        self.failure = Some(failure);
        error
    }

    /// Whether the stream may call its channel.
    fn usable(&mut self) -> Result<()> {
        if let Some(failure) = &self.failure {
            // What was put since then goes nowhere either.
            self.queue.reset();
            return Err(failure.error.clone());
        }
        match self.abort.reason(self.flushed_position()) {
            Some(reason) => Err(self.fail(reason)),
            None => Ok(()),
        }
    }
}

fn new_queue<'ram>(config: &WriterConfig) -> SendQueue<'ram> {
    SendQueue::new(config.buffer, config.max_segments, config.max_queued)
}

fn too_long(len: usize, max: usize, at: u64) -> StreamError {
    StreamError::new(ErrorKind::TooLong { len, max }, at)
}
