//! The first error of a stream.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A result of a stream's operation.
pub type Result<T, E = StreamError> = std::result::Result<T, E>;

/// The first error of a stream: what happened, and at which byte. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StreamError {
    kind: ErrorKind,
    at: u64,
    source: Option<Arc<io::Error>>,
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
    /// The user of the stream found it wrong.
    User(i32),
}

impl StreamError {
    /// An error of `kind` at byte `at` of the stream.
    pub fn new(kind: ErrorKind, at: u64) -> Self {
        Self {
            kind,
            at,
            source: None,
        }
    }

    pub(crate) fn from_io(error: io::Error, at: u64) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::WouldBlock => ErrorKind::WouldBlock,
            _ => ErrorKind::Io(error.raw_os_error().unwrap_or(0)),
        };
        Self {
            kind,
            at,
            source: Some(Arc::new(error)),
        }
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The byte of the stream at which it happened.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether the stream is of no use any more.
    pub fn is_sticky(&self) -> bool {
        !matches!(self.kind, ErrorKind::WouldBlock | ErrorKind::TooLong { .. })
    }

    /// The system's number for it, positive.
    #[doc(alias = "qemu_file_get_error")]
    pub fn errno(&self) -> i32 {
        match self.kind {
            ErrorKind::Io(errno) | ErrorKind::User(errno) if errno != 0 => errno,
            ErrorKind::WouldBlock => libc::EAGAIN,
            ErrorKind::TooLong { .. } => libc::EINVAL,
            ErrorKind::Aborted => libc::ECANCELED,
            _ => libc::EIO,
        }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::Io(_) => write!(f, "the channel failed")?,
            ErrorKind::UnexpectedEof { wanted, got } => {
                write!(
                    f,
                    "the stream ends early: {wanted} bytes expected, {got} there"
                )?;
            }
            ErrorKind::WriteZero => write!(f, "the channel takes nothing more")?,
            ErrorKind::Aborted => write!(f, "the stream was aborted")?,
            ErrorKind::WouldBlock => write!(f, "the channel is not ready")?,
            ErrorKind::TooLong { len, max } => {
                return write!(f, "{len} bytes are too long, at most {max} are taken");
            }
            ErrorKind::User(errno) => write!(f, "the stream was given up (error {errno})")?,
        }
        write!(f, " at byte {}", self.at)
    }
}

impl std::error::Error for StreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error.kind {
            ErrorKind::UnexpectedEof { .. } => io::ErrorKind::UnexpectedEof,
            ErrorKind::WriteZero => io::ErrorKind::WriteZero,
            ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            ErrorKind::TooLong { .. } => io::ErrorKind::InvalidInput,
            _ => error
                .source
                .as_ref()
                .map_or(io::ErrorKind::Other, |source| source.kind()),
        };
        Self::new(kind, error)
    }
}
