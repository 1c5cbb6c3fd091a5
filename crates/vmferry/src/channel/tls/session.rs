//! What both halves of a connection share.
//!
//! Two locks, always taken in this order: `sender`, which may be held for as long as the socket
//! takes, and `connection`, which never is. A reader that has something to say (an answer to a change
//! of keys) leaves it to a writer that is just sending; so reading never waits for writing.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rustls::Connection;

use super::TlsError;
use crate::channel::{Interest, Segment, SegmentMut, SocketWriter, WriteChannel};

pub(super) struct Session {
    connection: Mutex<Connection>,
    sender: Mutex<Sender>,
}

struct Sender {
    socket: SocketWriter,
    /// Encrypted, and how much of it has gone.
    bytes: Vec<u8>,
    sent: usize,
}

impl Session {
    pub(super) fn new(mut connection: Connection, socket: SocketWriter) -> Self {
        // What is encrypted is bounded by whoever encrypts.
        connection.set_buffer_limit(None);
        Self {
            connection: Mutex::new(connection),
            sender: Mutex::new(Sender {
                socket,
                bytes: Vec::new(),
                sent: 0,
            }),
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> MutexGuard<'_, Sender> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection().is_handshaking()
    }

    /// Whether something decrypted waits.
    pub(super) fn has_plain(&self) -> bool {
        let mut connection = self.connection();
        let mut reader = connection.reader();
        reader.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
    }

    /// Whether the peer has announced its end, and all before it was given out.
    pub(super) fn has_ended(&self) -> bool {
        let mut connection = self.connection();
        let mut reader = connection.reader();
        reader.fill_buf().is_ok_and(<[u8]>::is_empty)
    }

    /// Takes bytes from the socket, and tells how many.
    pub(super) fn take_raw(&self, mut raw: &[u8]) -> io::Result<usize> {
        let mut connection = self.connection();
        let taken = connection.read_tls(&mut raw)?;
        connection.process_new_packets().map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, TlsError::Protocol(error))
        })?;
        Ok(taken)
    }

    /// Gives out what is decrypted, and tells how much.
    pub(super) fn give_plain(&self, segments: &mut [SegmentMut<'_>]) -> usize {
        let mut connection = self.connection();
        let mut reader = connection.reader();
        let mut given = 0;
        let mut skip = 0;
        let mut segments = segments.iter_mut();
        let Some(mut segment) = segments.next() else {
            return 0;
        };
        while let Ok(bytes) = reader.fill_buf() {
            if bytes.is_empty() {
                break;
            }
            let copied = segment.copy_from_at(skip, bytes);
            reader.consume(copied);
            given += copied;
            skip += copied;
            if skip == segment.len() {
                match segments.next() {
                    Some(next) => (segment, skip) = (next, 0),
                    None => break,
                }
            }
        }
        given
    }

    /// Encrypts `plain`, which goes out with the next [`send`](Self::send).
    pub(super) fn encrypt(&self, plain: &[u8]) -> io::Result<()> {
        self.connection().writer().write_all(plain)
    }

    /// Sends what is encrypted. Unless it is to wait for it, a sender at work is left to do it.
    pub(super) fn send(&self, wait: bool) -> io::Result<()> {
        let mut sender = match wait {
            true => self.sender(),
            false => match self.sender.try_lock() {
                Ok(sender) => sender,
                Err(TryLockError::WouldBlock) => return Ok(()),
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            },
        };
        self.send_as(&mut sender)
    }

    fn send_as(&self, sender: &mut Sender) -> io::Result<()> {
        loop {
            while let Some(rest) = sender
                .bytes
                .get(sender.sent..)
                .filter(|rest| !rest.is_empty())
            {
                sender.sent += sender.socket.write_segments(&[Segment::new(rest)])?;
            }
            sender.bytes.clear();
            sender.sent = 0;
            let mut connection = self.connection();
            while connection.wants_write() {
                connection.write_tls(&mut sender.bytes)?;
            }
            if sender.bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Announces the end of this direction, and ends it.
    pub(super) fn end(&self) -> io::Result<()> {
        let mut sender = self.sender();
        self.connection().send_close_notify();
        while let Err(error) = self.send_as(&mut sender) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            sender.socket.wait(Interest::Write, None)?;
        }
        sender.socket.end()
    }

    /// Does something with the half of the socket that is written.
    pub(super) fn with_socket<T>(&self, act: impl FnOnce(&mut SocketWriter) -> T) -> T {
        act(&mut self.sender().socket)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
