//! TLS over a socket, with certificates on both sides, as QEMU's `tls-creds-x509` has it.
//!
//! ```no_run
//! use vmferry::channel::tls::{Credentials, Tls};
//! use vmferry::channel::{Duplex, Socket};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let credentials = Credentials::server("/etc/pki/qemu")?;
//! let socket = std::net::TcpListener::bind("[::]:4444")?.accept()?.0;
//! let (reader, writer) = Tls::accept(Socket::from(socket), &credentials)?.split();
//! # drop((reader, writer));
//! # Ok(())
//! # }
//! ```
//!
//! * **No session tickets**: QEMU does not read while it sends, so tickets would stay unread in its
//!   socket; when it closes, they turn its end into a reset, which throws the tail of the stream away.
//! * **An end is believed if the peer announces it** (`close_notify`), or if the format of what was
//!   read says that it [ends here](ReadChannel::expect_end). QEMU announces nothing. Any other end is
//!   an error: somebody may have cut the stream off.
//! * **Read up to the end before closing** where the other side may still be reading, with
//!   [`Reader::expect_end`](crate::stream::Reader::expect_end): what is unread in a socket that is closed,
//!   if only the announcement of the end, turns our own end into a reset there.
//! * **Both directions may be used from two threads**: neither waits for the other.
//! * Pre-shared keys (`tls-creds-psk`) are not there: rustls has none.

mod credentials;
mod error;
mod session;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use credentials::Credentials;
pub use error::TlsError;

use super::{
    Blocking, Capabilities, Duplex, Interest, ReadChannel, Segment, SegmentMut, Shutdown, Socket,
    SocketReader, WriteChannel,
};
use session::Session;

/// A TLS connection, in both directions.
#[derive(Debug)]
pub struct Tls {
    reader: TlsReader,
    writer: TlsWriter,
}

/// The half that is read.
#[derive(Debug)]
pub struct TlsReader {
    session: Arc<Session>,
    socket: SocketReader,
    /// Bytes from the socket, and how many of them the session has taken.
    raw: Vec<u8>,
    taken: usize,
    /// Whether anything came that was for us.
    begun: bool,
    end_expected: bool,
}

/// The half that is written.
#[derive(Debug)]
pub struct TlsWriter {
    session: Arc<Session>,
}

/// Bytes that are asked of the socket at once.
const RAW: usize = 64 << 10;

/// Bytes that are encrypted at once: four records.
const PLAIN: usize = 64 << 10;

impl Tls {
    /// Takes the server's part, in which a destination is.
    ///
    /// # Errors
    /// The client does not prove who it is, or ends the handshake.
    pub fn accept(socket: Socket, credentials: &Credentials) -> Result<Self, TlsError> {
        Self::new(socket, credentials.accept()?)
    }

    /// Takes the client's part, in which a source is. `name` is what the server's certificate has to
    /// be for: a host name or an address (QEMU's `tls-hostname`).
    ///
    /// # Errors
    /// The server does not prove who it is, does not accept us, or ends the handshake.
    pub fn connect(
        socket: Socket,
        name: &str,
        credentials: &Credentials,
    ) -> Result<Self, TlsError> {
        Self::new(socket, credentials.connect(name)?)
    }

    fn new(socket: Socket, connection: rustls::Connection) -> Result<Self, TlsError> {
        let (reader, writer) = socket.split();
        let session = Arc::new(Session::new(connection, writer));
        let mut reader = TlsReader {
            session: Arc::clone(&session),
            socket: reader,
            raw: Vec::new(),
            taken: 0,
            begun: false,
            end_expected: false,
        };
        reader.shake_hands()?;
        Ok(Self {
            reader,
            writer: TlsWriter { session },
        })
    }
}

impl Duplex for Tls {
    type Reader = TlsReader;
    type Writer = TlsWriter;

    fn split(self) -> (TlsReader, TlsWriter) {
        (self.reader, self.writer)
    }
}

impl TlsReader {
    /// Whether this half waits. The other half does not notice.
    pub fn set_blocking(&mut self, blocking: Blocking) {
        self.socket.set_blocking(blocking);
    }

    fn shake_hands(&mut self) -> Result<(), TlsError> {
        loop {
            // A peer that has gone may have said why: what cannot be sent is no matter before that is
            // heard.
            let sent = self.session.send(true).map_err(TlsError::Channel);
            if !self.session.is_handshaking() {
                return sent;
            }
            // Either may be followed by something to send, which the peer then waits for.
            let heard = match self.taken < self.raw.len() {
                true => self.feed(),
                false => self.fetch_waiting(),
            };
            if let Err(error) = heard {
                // The peer is told why, if it still listens.
                let _ = self.session.send(true);
                return Err(TlsError::of_handshake(error));
            }
        }
    }

    /// Gets more from the socket, waiting for it.
    fn fetch_waiting(&mut self) -> io::Result<()> {
        loop {
            match self.fetch() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.wait(None)?;
                }
                Ok(0) => return Err(TlsError::ended_in_handshake()),
                result => return result.map(drop),
            }
        }
    }

    /// Gives the session what came from the socket, until that is used up or says something.
    fn feed(&mut self) -> io::Result<()> {
        while self.taken < self.raw.len() && !self.session.has_plain() {
            self.taken += self.session.take_raw(&self.raw[self.taken..])?;
        }
        Ok(())
    }

    /// Gets more from the socket, all of what came before being used up; 0 at its end.
    fn fetch(&mut self) -> io::Result<usize> {
        self.raw.resize(RAW, 0);
        self.taken = 0;
        let fetched = self
            .socket
            .read_segments(&mut [SegmentMut::new(&mut self.raw)]);
        self.raw
            .truncate(fetched.as_ref().copied().unwrap_or_default());
        fetched
    }
}

impl ReadChannel for TlsReader {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        if segments.iter().all(SegmentMut::is_empty) {
            return Ok(0);
        }
        loop {
            let fed = self.feed();
            let read = self.session.give_plain(segments);
            if read > 0 {
                self.begun = true;
                return Ok(read);
            }
            if let Err(error) = fed {
                // The peer is told why, if it still listens.
                let _ = self.session.send(false);
                return Err(error);
            }
            // An answer to something that came with no data.
            match self.session.send(false) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            if self.session.has_ended() {
                return Ok(0);
            }
            if self.taken < self.raw.len() {
                continue;
            }
            if self.fetch()? == 0 {
                return match (self.end_expected, self.begun) {
                    (true, _) => Ok(0),
                    (false, true) => Err(TlsError::ended_unannounced()),
                    (false, false) => Err(TlsError::ended_at_once()),
                };
            }
        }
    }

    /// A record.
    fn read_ahead(&self) -> usize {
        RAW
    }

    fn expect_end(&mut self) {
        self.end_expected = true;
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.session.has_plain() || self.taken < self.raw.len() {
            return Ok(());
        }
        self.socket.wait(timeout)
    }

    fn capabilities(&self) -> Capabilities {
        ABILITIES
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        self.socket.shutdown_handle()
    }
}

impl TlsWriter {
    /// Whether this half waits. The other half does not notice.
    pub fn set_blocking(&mut self, blocking: Blocking) {
        self.session
            .with_socket(|socket| socket.set_blocking(blocking));
    }
}

impl WriteChannel for TlsWriter {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        // Nothing more is encrypted before what was encrypted has gone, so memory stays bounded.
        self.session.send(true)?;
        let mut plain = Vec::with_capacity(PLAIN.min(segments.iter().map(Segment::len).sum()));
        for segment in segments {
            let room = PLAIN - plain.len();
            match segment.len() <= room {
                true => segment.append_to(&mut plain),
                false => {
                    let from = plain.len();
                    plain.resize(PLAIN, 0);
                    segment.copy_to(&mut plain[from..]);
                    break;
                }
            }
        }
        self.session.encrypt(&plain)?;
        match self.session.send(true) {
            // It is taken, and goes out with what comes next or with `flush`.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(plain.len()),
            sent => sent.map(|()| plain.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.session.send(true)
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<()> {
        self.session
            .with_socket(|socket| socket.wait(interest, timeout))
    }

    fn capabilities(&self) -> Capabilities {
        ABILITIES
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        self.session.with_socket(|socket| socket.shutdown_handle())
    }

    /// Announces the end.
    fn close(&mut self) -> io::Result<()> {
        self.session.end()
    }
}

const ABILITIES: Capabilities = Capabilities {
    shutdown: true,
    seek: false,
    positioned: false,
    descriptors: false,
    zero_copy: false,
};
