//! Any descriptor: a pipe, standard input, one that was inherited.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;

use super::{Interest, ReadChannel, Segment, SegmentMut, WriteChannel, poll};
use crate::sys;

/// A descriptor that is read or written as it is.
///
/// It cannot be shut down: a blocked call on a pipe ends when the other end closes.
#[derive(Debug)]
pub struct Fd(OwnedFd);

impl Fd {
    /// A channel over a descriptor, which it closes in the end.
    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        Self(fd.into())
    }

    /// The descriptor back.
    pub fn into_inner(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ReadChannel for Fd {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        sys::readv(self.0.as_fd(), segments)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        poll::wait(self.0.as_fd(), PollFlags::IN, timeout)
    }
}

impl WriteChannel for Fd {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        sys::writev(self.0.as_fd(), segments)
    }

    fn wait(&mut self, _: Interest, timeout: Option<Duration>) -> io::Result<()> {
        poll::wait(self.0.as_fd(), PollFlags::OUT, timeout)
    }
}
