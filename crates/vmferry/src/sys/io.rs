//! Vectored system calls on pieces of memory that need not be slices.
//!
//! Interruptions are retried here, so that no caller has to think of them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Segment, SegmentMut};

/// The most pieces that one call takes (`IOV_MAX` of Linux).
const MAX_SEGMENTS: usize = 1024;

/// What a call on a socket does where it would have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// As the descriptor is set.
    AsDescriptor,
    /// It comes back with `WouldBlock`, whatever the descriptor is set to.
    Never,
}

impl Waiting {
    fn flag(self) -> libc::c_int {
        match self {
            Self::AsDescriptor => 0,
            Self::Never => libc::MSG_DONTWAIT,
        }
    }
}

/// Writes a prefix of the segments, and tells its length.
pub(crate) fn writev(fd: BorrowedFd<'_>, segments: &[Segment<'_>]) -> io::Result<usize> {
    let (ptr, count) = iovecs(segments);
    retry(|| {
        // Safe Rust has no vectored write from memory that may change.
        // SAFETY: a `Segment` is an iovec (repr(transparent)); each names memory that is mapped for
        // its lifetime, as whoever made it has promised; `count` of them are there.
        unsafe { libc::writev(fd.as_raw_fd(), ptr, count) }
    })
}

/// Writes a prefix of the segments at `offset` of a file, and tells its length.
pub(crate) fn pwritev(
    fd: BorrowedFd<'_>,
    segments: &[Segment<'_>],
    offset: u64,
) -> io::Result<usize> {
    let (ptr, count) = iovecs(segments);
    let offset = file_offset(offset)?;
    retry(|| {
        // Safe Rust has no vectored write from memory that may change.
        // SAFETY: as for `writev`.
        unsafe { libc::pwritev(fd.as_raw_fd(), ptr, count, offset) }
    })
}

/// Sends a prefix of the segments on a socket, without a signal if the peer has gone.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    segments: &[Segment<'_>],
    waiting: Waiting,
) -> io::Result<usize> {
    send_with_flags(fd, segments, libc::MSG_NOSIGNAL | waiting.flag())
}

pub(super) fn send_with_flags(
    fd: BorrowedFd<'_>,
    segments: &[Segment<'_>],
    flags: libc::c_int,
) -> io::Result<usize> {
    let (ptr, count) = iovecs(segments);
    // SAFETY: all-zero bytes are a valid `msghdr`: no name, no control data, no iovecs.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = ptr.cast_mut();
    message.msg_iovlen = count as usize;
    retry(|| {
        // Safe Rust has no vectored send from memory that may change.
        // SAFETY: `message` names `count` iovecs, each of memory that is mapped for its lifetime, as
        // whoever made the `Segment` has promised; sending does not write to them.
        unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) }
    })
}

/// Reads into the segments, and tells how many bytes came; 0 at the end.
pub(crate) fn readv(fd: BorrowedFd<'_>, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
    let (ptr, count) = iovecs_mut(segments);
    retry(|| {
        // Safe Rust has no vectored read into memory that others may change.
        // SAFETY: a `SegmentMut` is an iovec (repr(transparent)); each names memory that we may
        // write for its lifetime, as whoever made it has promised; `count` of them are there.
        unsafe { libc::readv(fd.as_raw_fd(), ptr, count) }
    })
}

/// Reads into the segments from `offset` of a file, and tells how many bytes came; 0 at the end.
pub(crate) fn preadv(
    fd: BorrowedFd<'_>,
    segments: &mut [SegmentMut<'_>],
    offset: u64,
) -> io::Result<usize> {
    let (ptr, count) = iovecs_mut(segments);
    let offset = file_offset(offset)?;
    retry(|| {
        // Safe Rust has no vectored read into memory that others may change.
        // SAFETY: as for `readv`.
        unsafe { libc::preadv(fd.as_raw_fd(), ptr, count, offset) }
    })
}

/// Receives into the segments from a socket, and tells how many bytes came; 0 at the end.
pub(crate) fn recv(
    fd: BorrowedFd<'_>,
    segments: &mut [SegmentMut<'_>],
    waiting: Waiting,
) -> io::Result<usize> {
    let (ptr, count) = iovecs_mut(segments);
    // SAFETY: all-zero bytes are a valid `msghdr`: no name, no control data, no iovecs.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = ptr.cast_mut();
    message.msg_iovlen = count as usize;
    retry(|| {
        // Safe Rust has no vectored receive into memory that others may change.
        // SAFETY: `message` names `count` iovecs, each of memory that we may write for its lifetime,
        // as whoever made the `SegmentMut` has promised; it names nothing else to be written.
        unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, waiting.flag()) }
    })
}

fn iovecs(segments: &[Segment<'_>]) -> (*const libc::iovec, libc::c_int) {
    (segments.as_ptr().cast(), iovec_count(segments.len()))
}

fn iovecs_mut(segments: &mut [SegmentMut<'_>]) -> (*const libc::iovec, libc::c_int) {
    (segments.as_ptr().cast(), iovec_count(segments.len()))
}

fn iovec_count(count: usize) -> libc::c_int {
    // Never above MAX_SEGMENTS, so the conversion does not fail.
    libc::c_int::try_from(count.min(MAX_SEGMENTS)).unwrap_or(1)
}

fn file_offset(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(len) => return Ok(len),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
