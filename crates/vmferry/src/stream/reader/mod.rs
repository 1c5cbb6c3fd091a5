//! The reading stream.
//!
//! ```text
//!           base                position            fetched (unless somebody has sought)
//!             |                     |                    |
//! window      | taken, not needed   | read ahead         | room            |
//!             0                     start               end       window.len()
//! ```
//!
//! | file | what |
//! |---|---|
//! | this one | the type, its positions, its errors |
//! | `scalar` | numbers, strictly or leniently |
//! | `bulk` | bytes by reference, by copy, straight into place |
//! | `peek` | looking ahead |
//! | `fetch` | how bytes come from the channel |
//! | `place` | offsets and descriptors |

mod bulk;
mod fetch;
mod peek;
mod place;
mod scalar;

pub use scalar::Lenient;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::abort::AbortFlag;
use super::{AbortHandle, OnWouldBlock, Result, StreamError};
use crate::channel::ReadChannel;

/// The sizes of a [`Reader`], and what it does where it would have to wait.
#[derive(Debug, Clone)]
pub struct ReaderConfig {
    /// Bytes of the window: the most that can be read ahead, peeked at, or handed out by reference;
    /// at least 4 KiB. A decoder that needs more at once makes it larger: up to
    /// [`limits::TAKE`](crate::wire::limits::TAKE).
    pub window: usize,
    /// Reads of at least as many bytes as this go straight to where they belong.
    pub direct_min: usize,
    /// Descriptors that may have come without having been taken; 0: none is received at all, as from
    /// a channel that does not pass them.
    pub descriptors: usize,
    /// What a read does where the channel is not ready. Decoders, and so [`load`](crate::load::load()), wait in any
    /// case.
    pub on_would_block: OnWouldBlock,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            window: 256 << 10,
            direct_min: 4 << 10,
            descriptors: 0,
            on_would_block: OnWouldBlock::Return,
        }
    }
}

/// A buffered stream that is read.
///
/// Everything is all or nothing: where bytes are missing, nothing is taken. The end of the stream is
/// an error only when a byte behind it is demanded, so reading exactly to the end is clean. Behind
/// the first error the stream gives nothing more.
#[derive(Debug)]
#[doc(alias = "QEMUFile")]
#[doc(alias = "qemu_file_mode_is_not_valid")]
pub struct Reader<C> {
    channel: C,
    window: Box<[u8]>,
    /// What has been read and not been taken is `window[start..end]`.
    start: usize,
    end: usize,
    /// Where that really ends: behind an error, nothing is given, and `end` is `start`.
    tail: usize,
    /// The stream's offset of the window's first byte.
    base: u64,
    fetched: u64,
    at_end: bool,
    error: Option<StreamError>,
    abort: AbortFlag,
    /// Descriptors that have come, each with the offset of the byte that it came with.
    descriptors: VecDeque<(u64, OwnedFd)>,
    config: ReaderConfig,
}

impl<C: ReadChannel> Reader<C> {
    /// A stream over `channel`, with the default sizes.
    #[doc(alias = "qemu_fopen_ops")]
    pub fn new(channel: C) -> Self {
        Self::with_config(channel, &ReaderConfig::default())
    }

    /// A stream over `channel`.
    pub fn with_config(channel: C, config: &ReaderConfig) -> Self {
        let config = ReaderConfig {
            window: config.window.max(4 << 10),
            direct_min: config.direct_min.max(1),
            descriptors: match channel.capabilities().descriptors {
                true => config.descriptors,
                false => 0,
            },
            ..config.clone()
        };
        Self {
            channel,
            window: vec![0; config.window].into(),
            start: 0,
            end: 0,
            tail: 0,
            base: 0,
            fetched: 0,
            at_end: false,
            error: None,
            abort: AbortFlag::default(),
            descriptors: VecDeque::new(),
            config,
        }
    }

    /// Bytes taken, or where the last [seek](std::io::Seek) has led and bytes taken since.
    #[inline]
    pub fn position(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Bytes read from the channel, taken or not.
    #[doc(alias = "qemu_ftell")]
    #[doc(alias = "qemu_ftell_fast")]
    pub fn fetched(&self) -> u64 {
        self.fetched
    }

    /// What has been read ahead and not been taken.
    #[inline]
    pub fn buffered(&self) -> &[u8] {
        &self.window[self.start..self.end]
    }

    /// What has been read ahead and not been taken, also behind an error, where the stream does not
    /// give it any more.
    pub fn unread(&self) -> &[u8] {
        &self.window[self.start..self.tail]
    }

    /// Whether the stream is at its end, which may mean to wait for what comes next.
    ///
    /// # Errors
    /// The stream has failed.
    pub fn at_end(&mut self) -> Result<bool> {
        while self.start == self.end && !self.at_end {
            self.fetch(1)?;
        }
        self.check()?;
        Ok(self.start == self.end)
    }

    /// The format of what was read says that it ends here: makes sure that the stream does.
    /// Transports whose end can be forged believe it only now.
    ///
    /// # Errors
    /// The stream goes on, or has failed.
    pub fn expect_end(&mut self) -> Result<()> {
        self.channel.expect_end();
        if self.at_end()? {
            return Ok(());
        }
        let error = StreamError::new(super::ErrorKind::Trailing, self.position());
        Err(self.fail(error))
    }

    /// The first error, if there was one.
    #[doc(alias = "qemu_file_get_error")]
    pub fn error(&self) -> Option<&StreamError> {
        self.error.as_ref()
    }

    /// Whether everything up to now was there.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn check(&self) -> Result<()> {
        self.error.clone().map_or(Ok(()), Err)
    }

    /// Makes the stream fail, unless it has failed already.
    #[doc(alias = "qemu_file_set_error")]
    pub fn fail_with(&mut self, error: StreamError) {
        self.fail(error);
    }

    /// What ends this stream from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.handle(self.channel.shutdown_handle())
    }

    /// The channel.
    pub fn channel(&self) -> &C {
        &self.channel
    }

    /// The channel, to change how it behaves. What is read from it directly is lost to the stream.
    pub fn channel_mut(&mut self) -> &mut C {
        &mut self.channel
    }

    /// The channel, and what was read ahead and not taken.
    #[doc(alias = "qemu_fclose")]
    pub fn into_parts(self) -> (C, Vec<u8>) {
        let rest = self.window[self.start..self.tail].to_vec();
        (self.channel, rest)
    }

    /// Keeps the first error, which it returns, and yields nothing more.
    #[cold]
    fn fail(&mut self, error: StreamError) -> StreamError {
        self.end = self.start;
        self.error.get_or_insert(error).clone()
    }
}
