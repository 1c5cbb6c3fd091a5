//! Vectored system calls on pieces of memory that need not be slices.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Segment, SegmentMut};

/// The most pieces that one call takes (`IOV_MAX` of Linux).
const MAX_SEGMENTS: usize = 1024;

/// Writes a prefix of the segments, and tells its length. Interruptions are retried.
pub(crate) fn writev(fd: BorrowedFd<'_>, segments: &[Segment<'_>]) -> io::Result<usize> {
    let (ptr, count) = iovecs(segments);
    retry(|| {
        // Safe Rust has no vectored write from memory that may change.
        // SAFETY: a `Segment` is an iovec (repr(transparent)); each names memory that is mapped for
        // its lifetime, as whoever made it has promised; `count` of them are there.
        unsafe { libc::writev(fd.as_raw_fd(), ptr, count) }
    })
}

/// Sends a prefix of the segments on a socket, without a signal if the peer has gone.
pub(crate) fn send(fd: BorrowedFd<'_>, segments: &[Segment<'_>]) -> io::Result<usize> {
    let (ptr, count) = iovecs(segments);
    retry(|| {
        // SAFETY: all-zero bytes are a valid `msghdr`: no name, no control data, no iovecs.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = ptr.cast_mut();
        message.msg_iovlen = count as usize;
        // Safe Rust has no vectored send from memory that may change.
        // SAFETY: `message` names `count` iovecs, each of memory that is mapped for its lifetime, as
        // whoever made the `Segment` has promised; sending does not write to them.
        unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) }
    })
}

/// Reads into the segments, and tells how many bytes came; 0 at the end. Interruptions are retried.
pub(crate) fn readv(fd: BorrowedFd<'_>, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
    let count = libc::c_int::try_from(segments.len().min(MAX_SEGMENTS)).unwrap_or(libc::c_int::MAX);
    let ptr = segments.as_ptr().cast::<libc::iovec>();
    retry(|| {
        // Safe Rust has no vectored read into memory that others may change.
        // SAFETY: a `SegmentMut` is an iovec (repr(transparent)); each names memory that we may
        // write for its lifetime, as whoever made it has promised; `count` of them are there.
        unsafe { libc::readv(fd.as_raw_fd(), ptr, count) }
    })
}

fn iovecs(segments: &[Segment<'_>]) -> (*const libc::iovec, libc::c_int) {
    let count = libc::c_int::try_from(segments.len().min(MAX_SEGMENTS)).unwrap_or(libc::c_int::MAX);
    (segments.as_ptr().cast(), count)
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
