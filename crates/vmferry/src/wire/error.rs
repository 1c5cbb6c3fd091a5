//! What is wrong with bytes that claim to be a migration stream, and where.
//!
//! A [`FormatError`] says what was expected, what came, at which byte, and in which section. It is always the fault of
//! the peer, or of what stored the bytes.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// A stream that is not what QEMU would have sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// Offset in bytes from the start of the stream of the element that is wrong.
    pub at: u64,
    /// The section in which it stands (its idstr), where there is one.
    pub section: Option<Box<str>>,
    /// What is wrong.
    pub kind: FormatErrorKind,
}

/// The ways in which a stream can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatErrorKind {
    /// The stream ends inside something.
    Truncated {
        /// What was being read.
        what: &'static str,
        /// How many bytes it takes at least.
        wanted: u64,
        /// How many were there.
        got: u64,
    },
    /// Something else stands where only one thing (or one of a few) may stand.
    Unexpected {
        /// What was being read.
        what: &'static str,
        /// What would have been right.
        expected: Cow<'static, str>,
        /// What came.
        found: String,
    },
    /// A length is larger than its named limit; nothing was reserved for it.
    TooLong {
        /// What has this length.
        what: &'static str,
        /// The length that came.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes are left over after something that should have ended.
    Trailing {
        /// What should have ended.
        what: &'static str,
        /// How many bytes are left.
        left: u64,
    },
    /// Legal, but not understood by this version of the library.
    Unsupported {
        /// What it is.
        what: Cow<'static, str>,
    },
}

impl FormatError {
    /// An error of `kind` at byte `at`, in no section yet.
    pub fn new(at: u64, kind: FormatErrorKind) -> Self {
        Self {
            at,
            section: None,
            kind,
        }
    }

    /// `expected`, but `found`, while reading `what`.
    pub fn unexpected(
        at: u64,
        what: &'static str,
        expected: impl Into<Cow<'static, str>>,
        found: impl fmt::Display,
    ) -> Self {
        Self::new(
            at,
            FormatErrorKind::Unexpected {
                what,
                expected: expected.into(),
                found: found.to_string(),
            },
        )
    }

    /// The stream ends after `got` bytes of `what`, which takes `wanted` bytes or more.
    pub fn truncated(at: u64, what: &'static str, wanted: u64, got: u64) -> Self {
        Self::new(at, FormatErrorKind::Truncated { what, wanted, got })
    }

    /// `what` is legal, but this library does not read it.
    pub fn unsupported(at: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(at, FormatErrorKind::Unsupported { what: what.into() })
    }

    /// `len` of `what` is above `limit`.
    pub fn too_long(at: u64, what: &'static str, len: u64, limit: u64) -> Self {
        Self::new(at, FormatErrorKind::TooLong { what, len, limit })
    }

    /// Names the section, unless an inner layer already did.
    #[must_use]
    pub fn in_section(mut self, idstr: &str) -> Self {
        self.section.get_or_insert_with(|| idstr.into());
        self
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FormatErrorKind::Truncated { what, wanted, got } => write!(
                f,
                "the stream ends inside {what}: at least {wanted} bytes expected, {got} there"
            )?,
            FormatErrorKind::Unexpected {
                what,
                expected,
                found,
            } => write!(f, "{what}: expected {expected}, found {found}")?,
            FormatErrorKind::TooLong { what, len, limit } => {
                write!(f, "{what} has a length of {len}, the limit is {limit}")?;
            }
            FormatErrorKind::Trailing { what, left } => {
                write!(f, "{left} bytes are left over after {what}")?;
            }
            FormatErrorKind::Unsupported { what } => write!(f, "{what} is not supported")?,
        }
        write!(f, ", at offset {:#x}", self.at)?;
        if let Some(section) = &self.section {
            write!(f, " in section '{section}'")?;
        }
        Ok(())
    }
}

impl StdError for FormatError {}
