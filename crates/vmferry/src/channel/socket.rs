//! A connected stream socket.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{
    Blocking, Capabilities, Duplex, Interest, ReadChannel, Segment, SegmentMut, Shutdown, Ticket,
    WriteChannel, poll,
};
use crate::sys::{self, Waiting};

/// A connected stream socket, of whatever family.
#[derive(Debug)]
pub struct Socket {
    fd: Arc<OwnedFd>,
    zero_copy: bool,
}

/// The half of a socket that is read.
#[derive(Debug)]
pub struct SocketReader {
    fd: Arc<OwnedFd>,
    waiting: Waiting,
}

/// The half of a socket that is written.
#[derive(Debug)]
pub struct SocketWriter {
    fd: Arc<OwnedFd>,
    waiting: Waiting,
    zero_copy: Option<ZeroCopy>,
}

/// What a socket that sends without copying remembers.
#[derive(Debug, Default)]
struct ZeroCopy {
    /// Sends so far: the kernel counts them, too.
    sends: u64,
    completions: sys::Completions,
}

impl Socket {
    /// A channel over a connected socket, which it closes in the end.
    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        Self {
            fd: Arc::new(fd.into()),
            zero_copy: false,
        }
    }

    /// Two connected sockets.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((one.into(), other.into()))
    }

    /// A socket connected to `port` of the machine with context id `cid` (2 is the host).
    ///
    /// Not proven: no machine with virtual sockets has run it yet. What follows the connection is
    /// what every socket does.
    ///
    /// # Errors
    /// There are no virtual sockets here, or nobody listens.
    pub fn connect_vsock(cid: u32, port: u32) -> io::Result<Self> {
        sys::connect_vsock(cid, port).map(Self::new)
    }

    /// Lets the writing half send without copying, where the stream over it wants that
    /// ([`WriterConfig::zero_copy_min`](crate::stream::WriterConfig::zero_copy_min)).
    ///
    /// # Errors
    /// Sockets of this family cannot (unix sockets cannot).
    pub fn with_zero_copy(mut self) -> io::Result<Self> {
        sys::enable_zero_copy(self.fd.as_fd())?;
        self.zero_copy = true;
        Ok(self)
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
        let reader = SocketReader {
            fd: Arc::clone(&self.fd),
            waiting: Waiting::AsDescriptor,
        };
        let writer = SocketWriter {
            fd: self.fd,
            waiting: Waiting::AsDescriptor,
            zero_copy: self.zero_copy.then(ZeroCopy::default),
        };
        (reader, writer)
    }
}

impl SocketReader {
    /// Whether this half waits. The other half does not notice.
    pub fn set_blocking(&mut self, blocking: Blocking) {
        self.waiting = waiting(blocking);
    }
}

impl SocketWriter {
    /// Whether this half waits. The other half does not notice.
    pub fn set_blocking(&mut self, blocking: Blocking) {
        self.waiting = waiting(blocking);
    }
}

impl SocketWriter {
    /// The other side sees the end, although the reading half may keep the socket open.
    pub(super) fn end(&self) -> io::Result<()> {
        let direction = rustix::net::Shutdown::Write;
        Ok(rustix::net::shutdown(&self.fd, direction)?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for SocketReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for SocketWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl ReadChannel for SocketReader {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        sys::recv(self.fd.as_fd(), segments, self.waiting)
    }

    fn read_with_descriptors(
        &mut self,
        room: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); DESCRIPTOR_SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        flags.set(RecvFlags::DONTWAIT, self.waiting == Waiting::Never);
        let received = loop {
            let room = &mut [io::IoSliceMut::new(&mut *room)];
            match recvmsg(&self.fd, room, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other(
                "the peer sent too many descriptors at once",
            ));
        }
        Ok(received.bytes)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        poll::wait(self.fd.as_fd(), PollFlags::IN, timeout)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            shutdown: true,
            descriptors: is_unix(&self.fd),
            ..Capabilities::default()
        }
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::new(ShutSocket(Arc::clone(&self.fd))))
    }
}

impl WriteChannel for SocketWriter {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        sys::send(self.fd.as_fd(), segments, self.waiting)
    }

    fn write_segments_later(&mut self, segments: &[Segment<'_>]) -> io::Result<(usize, Ticket)> {
        let Some(zero_copy) = &mut self.zero_copy else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let written = match sys::send_zero_copy(self.fd.as_fd(), segments, self.waiting) {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                // The kernel remembers only so many sends. Reading its notices makes room for the
                // next ones; these bytes go the ordinary way, so that the stream gets on.
                zero_copy.completions.drain(self.fd.as_fd())?;
                sys::send(self.fd.as_fd(), segments, self.waiting)?
            }
            result => {
                let written = result?;
                zero_copy.sends += 1;
                written
            }
        };
        Ok((written, Ticket(zero_copy.sends)))
    }

    fn completed(&mut self) -> io::Result<Ticket> {
        let Some(zero_copy) = &mut self.zero_copy else {
            return Ok(Ticket(u64::MAX));
        };
        if zero_copy.completions.done() < zero_copy.sends {
            zero_copy.completions.drain(self.fd.as_fd())?;
        }
        Ok(Ticket(zero_copy.completions.done()))
    }

    fn copied_anyway(&self) -> u64 {
        let zero_copy = self.zero_copy.as_ref();
        zero_copy.map_or(0, |zero_copy| zero_copy.completions.copied())
    }

    fn send_descriptor(&mut self, byte: u8, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        if !is_unix(&self.fd) {
            // Others would send the byte alone, and say that all went well.
            return Err(io::ErrorKind::Unsupported.into());
        }
        let descriptors = &[descriptor];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(descriptors));
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::DONTWAIT, self.waiting == Waiting::Never);
        let byte = [byte];
        loop {
            match sendmsg(&self.fd, &[io::IoSlice::new(&byte)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<()> {
        let flags = match interest {
            Interest::Write => PollFlags::OUT,
            // Word of completions makes an error condition, which always ends a wait.
            Interest::Completion => PollFlags::empty(),
        };
        poll::wait(self.fd.as_fd(), flags, timeout)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            shutdown: true,
            descriptors: is_unix(&self.fd),
            zero_copy: self.zero_copy.is_some(),
            ..Capabilities::default()
        }
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::new(ShutSocket(Arc::clone(&self.fd))))
    }

    fn close(&mut self) -> io::Result<()> {
        self.end()
    }
}

pub(super) struct ShutSocket(pub(super) Arc<OwnedFd>);

impl Shutdown for ShutSocket {
    fn shutdown(&self) -> io::Result<()> {
        match rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both) {
            // The peer was faster; nothing is blocked any more.
            Err(rustix::io::Errno::NOTCONN) => Ok(()),
            result => Ok(result?),
        }
    }
}

fn is_unix(fd: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_domain(fd).is_ok_and(|family| family == AddressFamily::UNIX)
}

fn waiting(blocking: Blocking) -> Waiting {
    match blocking {
        Blocking::AsDescriptor => Waiting::AsDescriptor,
        Blocking::Never => Waiting::Never,
    }
}

/// Descriptors that one message may bring; more are refused by an error.
const DESCRIPTORS_AT_ONCE: usize = 16;
const DESCRIPTOR_SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE));
