//! Error numbers of C, and what they are to a stream.

use std::ffi::c_int;

use vmferry::stream::{ErrorKind, StreamError};

/// An error that C has found, with its number, positive.
#[cold]
pub(crate) fn user_error(errno: c_int, at: u64) -> StreamError {
    StreamError::new(ErrorKind::User(errno), at)
}

/// A negative error number of C as a positive one.
pub(crate) fn positive(errno: c_int) -> c_int {
    errno.checked_neg().unwrap_or(c_int::MAX)
}
