//! The socket between saver and guardian, and the messages on it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use super::Plan;

/// The most descriptors that come with one message.
const FDS: usize = 2;

/// The longest message: a plan, with every capability and parameter that a QEMU has.
const MESSAGE_LIMIT: usize = 1 << 20;

/// A message on the lifeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Guard this; the first one brings the channel and the monitor connection along.
    Plan(Box<Plan>),
    /// To a saver that was started by its guardian: here is the channel.
    Channel,
    /// The guardian is ready.
    Ready,
    /// A sign of life.
    Beat,
    /// The stream has been read to its end. The guest needs nobody any more.
    Read,
    /// All is well and has been put back; or there is nothing to put back.
    Done,
}

/// One end of a lifeline.
#[derive(Debug)]
pub struct Lifeline {
    socket: UnixStream,
    buffer: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// What was received on a lifeline, or was not.
#[derive(Debug)]
pub enum Heard {
    /// A message, with the descriptors that came along.
    Message(Message, Vec<OwnedFd>),
    /// Nothing until the deadline.
    Silence,
    /// The other end is gone.
    Gone,
}

impl Lifeline {
    /// Two ends.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((one.into(), other.into()))
    }

    /// The end that was inherited as standard input.
    ///
    /// # Errors
    /// Standard input is no socket.
    pub fn inherited() -> io::Result<Self> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::net::sockopt::socket_type(&fd)?;
        Ok(UnixStream::from(fd).into())
    }

    /// Sends a message, with descriptors.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut text = serde_json::to_vec(message)?;
        text.push(b'\n');
        let mut rest = text.as_slice();
        let mut fds = fds;
        while !rest.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let iov = [io::IoSlice::new(rest)];
            match rustix::net::sendmsg(&self.socket, &iov, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    fds = &[];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives a sign of life. If the guardian does not take it now, another one will do.
    pub fn beat(&self) {
        let text = b"\"beat\"\n";
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // A lifeline that is gone shows when it matters: at the next message.
        let _ = rustix::net::send(&self.socket, text, flags);
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// What came is no message.
    pub fn hear(&mut self, deadline: Option<Instant>) -> io::Result<Heard> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                let message = serde_json::from_slice(&line)?;
                return Ok(Heard::Message(message, std::mem::take(&mut self.fds)));
            }
            if self.buffer.len() > MESSAGE_LIMIT {
                return Err(io::Error::other("a message without end on the lifeline"));
            }
            if !self.is_readable(deadline)? {
                return Ok(Heard::Silence);
            }
            if !self.receive()? {
                return Ok(Heard::Gone);
            }
        }
    }

    fn is_readable(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(
            &mut polled,
            left.and_then(|left| left.try_into().ok()).as_ref(),
        ) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self) -> io::Result<bool> {
        let mut piece = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [io::IoSliceMut::new(&mut piece)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = match rustix::net::recvmsg(&self.socket, &mut iov, &mut ancillary, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
            Err(Errno::CONNRESET) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.buffer
            .extend_from_slice(piece.get(..received.bytes).unwrap_or_default());
        Ok(received.bytes > 0)
    }
}

impl From<UnixStream> for Lifeline {
    fn from(socket: UnixStream) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
            fds: Vec::new(),
        }
    }
}

/// Starts this program once more, with `arguments`, and with one end of a lifeline as its standard
/// input. Its standard output is our standard error, so that it cannot get in the way of a result.
///
/// # Errors
/// It cannot be started.
pub fn spawn(arguments: &[&std::ffi::OsStr]) -> io::Result<(Child, Lifeline)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new("/proc/self/exe")
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
        .spawn()?;
    Ok((child, ours.into()))
}
