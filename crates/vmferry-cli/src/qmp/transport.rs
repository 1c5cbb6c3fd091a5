//! Lines in and out of a monitor's socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use super::{Error, Result};

/// The longest line that is taken from a monitor. Its longest answers (a schema, a large bus) have
/// some hundred kilobytes.
const LINE_LIMIT: usize = 16 << 20;

/// Opens a socket to a listening monitor; `None` if its queue of waiting clients is full.
pub(super) fn connect(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The reading half: cuts what comes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// Where the search for the next newline goes on.
    searched: usize,
    /// Whether what comes next may be the tail of a line whose head somebody else has read.
    torn: bool,
}

impl Lines {
    /// Begins in the middle: what comes before the first newline is dropped, if it is no message.
    pub(super) fn torn() -> Self {
        Self {
            torn: true,
            ..Self::default()
        }
    }

    /// Whether the line that [`Lines::next`] gave may have lost its head.
    pub(super) fn take_torn(&mut self) -> bool {
        std::mem::take(&mut self.torn)
    }

    /// The next whole line that has been read already.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let newline = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(at) = newline.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(at + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        self.searched = 0;
        while line.last().is_some_and(u8::is_ascii_whitespace) {
            line.pop();
        }
        Some(line)
    }

    /// The beginning of a line whose end has not come.
    pub(super) fn unfinished(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads more, once; false at the end of the connection.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> Result<bool> {
        if self.buffer.len() > LINE_LIMIT {
            return Err(Error::Protocol {
                what: format!("a line of more than {LINE_LIMIT} bytes"),
            });
        }
        let mut piece = [0; 16 << 10];
        match rustix::net::recv(socket, &mut piece, RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(false),
            Ok((_, len)) => {
                self.buffer.extend_from_slice(&piece[..len.min(16 << 10)]);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

/// Waits until one of the descriptors can be read, or until the deadline; tells which.
pub(super) fn readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Rounded up, so that a wait does not end before its deadline.
        let left = left.map(|left| left + Duration::from_micros(999));
        let timeout = left.and_then(|left| left.try_into().ok());
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => return Ok(polled.map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends all of `bytes`, and `fds` along with the first of them.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    deadline: Instant,
) -> io::Result<()> {
    let mut rest = bytes;
    let mut fds = fds;
    while !rest.is_empty() {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let iov = [io::IoSlice::new(rest)];
        match rustix::net::sendmsg(socket, &iov, &mut ancillary, flags) {
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                fds = &[];
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(socket, deadline)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait_writable(socket: BorrowedFd<'_>, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)];
    match poll(&mut polled, left.try_into().ok().as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
