//! Why a stream could not be read or written: one error above those of the format and of the transport.
//!
//! A [`FormatError`] is what is wrong with the bytes, a [`StreamError`] is trouble with the transport, and the two never
//! stand in for each other.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::stream::StreamError;
pub use crate::wire::{FormatError, FormatErrorKind};

/// Why reading a migration stream ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are wrong: the peer's fault, or that of whoever stored them.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// What the stream is wrapped in is damaged.
    #[error(transparent)]
    Damaged(Damage),
    /// The channel failed.
    #[error(transparent)]
    Stream(StreamError),
    /// The channel was closed on our side, because something else had failed.
    #[error("the channel is closed")]
    Closed,
}

impl From<StreamError> for Error {
    /// Damage below the stream reaches it as an error of its channel.
    fn from(error: StreamError) -> Self {
        match Damage::behind(&error) {
            Some(damage) => Self::Damaged(damage.clone()),
            None => Self::Stream(error),
        }
    }
}

impl Error {
    /// Whether bytes were read and are wrong, rather than that they could not be read.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Format(_) | Self::Damaged(_) => true,
            Self::Stream(_) | Self::Closed => false,
        }
    }

    /// Whether nothing more can be read: the stream has ended, or its channel has failed.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Format(error) => matches!(error.kind, FormatErrorKind::Truncated { .. }),
            Self::Damaged(_) | Self::Stream(_) | Self::Closed => true,
        }
    }

    /// Names the section that was being read, where the bytes are wrong.
    #[must_use]
    pub fn in_section(self, idstr: &str) -> Self {
        match self {
            Self::Format(error) => Self::Format(error.in_section(idstr)),
            other => other,
        }
    }
}

/// Damage below a stream, in what it is wrapped in: compressed data, a libvirt save image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    what: String,
}

impl Damage {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// Data that was compressed with `codec` is damaged. So many bytes it gave before that was noticed.
    pub(crate) fn in_decompressed(codec: &str, at: u64, reason: &str) -> Self {
        Self::new(format!(
            "the {codec} data is damaged: {reason} (noticed at offset {at:#x} of the decompressed data)"
        ))
    }

    /// The damage that caused an error, if it was one.
    pub fn behind<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(damage) = error.downcast_ref() {
                return Some(damage);
            }
            next = match error.downcast_ref::<io::Error>() {
                // Its source is that of what is in it.
                Some(error) => error.get_ref().map(|inner| inner as _),
                None => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Damage {}
