//! A connected stream socket.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::{Duplex, ReadChannel, Segment, SegmentMut, Shutdown, WriteChannel};
use crate::sys;

/// A connected stream socket, of whatever family.
#[derive(Debug)]
pub struct Socket(Arc<OwnedFd>);

/// The half of a socket that is read.
#[derive(Debug)]
pub struct SocketReader(Arc<OwnedFd>);

/// The half of a socket that is written.
#[derive(Debug)]
pub struct SocketWriter(Arc<OwnedFd>);

impl Socket {
    /// A channel over a connected socket, which it closes in the end.
    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        Self(Arc::new(fd.into()))
    }

    /// Two connected sockets.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((one.into(), other.into()))
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::new(stream)
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::new(stream)
    }
}

impl Duplex for Socket {
    type Reader = SocketReader;
    type Writer = SocketWriter;

    fn split(self) -> (SocketReader, SocketWriter) {
        (SocketReader(Arc::clone(&self.0)), SocketWriter(self.0))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for SocketReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for SocketWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ReadChannel for SocketReader {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        sys::readv(self.0.as_fd(), segments)
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::new(ShutSocket(Arc::clone(&self.0))))
    }
}

impl WriteChannel for SocketWriter {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        sys::send(self.0.as_fd(), segments)
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::new(ShutSocket(Arc::clone(&self.0))))
    }
}

struct ShutSocket(Arc<OwnedFd>);

impl Shutdown for ShutSocket {
    fn shutdown(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both)?)
    }
}
