//! The first error of a stream.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A result of a stream's operation.
pub type Result<T, E = StreamError> = std::result::Result<T, E>;

/// The first error of a stream: what happened, and at which byte. Cheap to clone, and no larger than
/// a pointer, so that a `Result` of a number stays in registers.
#[derive(Clone)]
pub struct StreamError(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    at: u64,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What can happen to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The channel said so, with this error number of the system; 0 where it had none.
    Io(i32),
    /// The stream ends before what was demanded.
    UnexpectedEof {
        /// Bytes that were demanded.
        wanted: usize,
        /// Bytes that were there.
        got: usize,
    },
    /// The stream goes on where it should have ended.
    Trailing,
    /// The channel took nothing, without saying why.
    WriteZero,
    /// Another thread ended the stream.
    Aborted,
    /// Not now: the same call may succeed later. Never sticks.
    WouldBlock,
    /// An argument is longer than the operation takes. Never sticks.
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The most that is taken.
        max: usize,
    },
    /// The channel cannot do this. Never sticks.
    Unsupported(&'static str),
    /// A descriptor was demanded where none has come.
    NoDescriptor,
    /// More descriptors came than anybody took.
    TooManyDescriptors,
    /// Compressed data is not what it should be.
    Compression,
    /// A hook for RAM failed, with this error number.
    Hook(i32),
    /// The sender requires a hook that the receiver does not have.
    HookMissing,
    /// The user of the stream found it wrong, with this error number.
    User(i32),
}

impl StreamError {
    /// An error of `kind` at byte `at` of the stream.
    #[cold]
    pub fn new(kind: ErrorKind, at: u64) -> Self {
        Self(Arc::new(Inner {
            kind,
            at,
            source: None,
        }))
    }

    /// An error of `kind` at byte `at` of the stream, and what caused it.
    #[cold]
    pub fn with_source(
        kind: ErrorKind,
        at: u64,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            at,
            source: Some(source.into()),
        }))
    }

    /// What an error of the channel means at byte `at`: the end of the stream.
    #[cold]
    pub(crate) fn from_io(error: io::Error, at: u64) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::WriteZero => ErrorKind::WriteZero,
            _ => ErrorKind::Io(error.raw_os_error().unwrap_or(0)),
        };
        Self::with_source(kind, at, error)
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The byte of the stream at which it happened.
    pub fn at(&self) -> u64 {
        self.0.at
    }

    /// Whether the stream is of no use any more.
    pub fn is_sticky(&self) -> bool {
        !matches!(
            self.0.kind,
            ErrorKind::WouldBlock | ErrorKind::TooLong { .. } | ErrorKind::Unsupported(_)
        )
    }

    /// The system's number for it, positive.
    #[doc(alias = "qemu_file_get_error")]
    pub fn errno(&self) -> i32 {
        match self.0.kind {
            ErrorKind::Io(errno) | ErrorKind::User(errno) | ErrorKind::Hook(errno)
                if errno != 0 =>
            {
                errno
            }
            ErrorKind::WouldBlock => libc::EAGAIN,
            ErrorKind::TooLong { .. } | ErrorKind::HookMissing => libc::EINVAL,
            ErrorKind::Unsupported(_) => libc::ENOTSUP,
            ErrorKind::Aborted => libc::ECANCELED,
            _ => libc::EIO,
        }
    }
}

impl fmt::Debug for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamError")
            .field("kind", &self.0.kind)
            .field("at", &self.0.at)
            .field("source", &self.0.source)
            .finish()
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            ErrorKind::Io(_) => write!(f, "the channel failed")?,
            ErrorKind::UnexpectedEof { wanted, got } => {
                write!(
                    f,
                    "the stream ends early: {wanted} bytes expected, {got} there"
                )?;
            }
            ErrorKind::Trailing => write!(f, "the stream goes on where it should have ended")?,
            ErrorKind::WriteZero => write!(f, "the channel takes nothing more")?,
            ErrorKind::Aborted => write!(f, "the stream was aborted")?,
            ErrorKind::WouldBlock => write!(f, "the channel is not ready")?,
            ErrorKind::TooLong { len, max } => {
                return write!(f, "{len} bytes are too long, at most {max} are taken");
            }
            ErrorKind::Unsupported(what) => return write!(f, "the channel cannot do {what}"),
            ErrorKind::NoDescriptor => write!(f, "a descriptor was expected, none came")?,
            ErrorKind::TooManyDescriptors => write!(f, "too many descriptors came")?,
            ErrorKind::Compression => write!(f, "the compressed data is not whole")?,
            ErrorKind::Hook(_) => write!(f, "a hook failed")?,
            ErrorKind::HookMissing => write!(f, "the sender requires a hook that is not here")?,
            ErrorKind::User(errno) => write!(f, "the stream was given up (error {errno})")?,
        }
        write!(f, " at byte {}", self.0.at)
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error.0.kind {
            ErrorKind::UnexpectedEof { .. } => io::ErrorKind::UnexpectedEof,
            ErrorKind::WriteZero => io::ErrorKind::WriteZero,
            ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            ErrorKind::TooLong { .. } => io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported(_) => io::ErrorKind::Unsupported,
            ErrorKind::Compression | ErrorKind::Trailing => io::ErrorKind::InvalidData,
            _ => error
                .0
                .source
                .as_ref()
                .and_then(|source| source.downcast_ref::<Self>())
                .map_or(io::ErrorKind::Other, Self::kind),
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_a_number_fits_two_registers() {
        assert_eq!(size_of::<Result<u64>>(), 16);
    }

    #[test]
    fn an_error_keeps_its_cause_and_does_not_repeat_it() {
        let cause = io::Error::from_raw_os_error(libc::ECONNRESET);
        let text = cause.to_string();
        let error = StreamError::from_io(cause, 7);
        assert_eq!(error.kind(), ErrorKind::Io(libc::ECONNRESET));
        assert_eq!(error.errno(), libc::ECONNRESET);
        assert_eq!(error.to_string(), "the channel failed at byte 7");
        assert_eq!(error.source().unwrap().to_string(), text);
        let io = io::Error::from(error);
        assert_eq!(io.kind(), io::ErrorKind::ConnectionReset);
    }
}
