//! The channels that the suite runs over.

use std::fmt::Debug;
use std::io::{self, Cursor};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::pipe::{PipeFlags, pipe_with};
use vmferry::channel::{
    Blocking, Bytes, Duplex, Exec, ExecReader, ExecWriter, Fd, File, Memory, Null, ReadChannel,
    Segment, Socket, SocketReader, SocketWriter, Std, WriteChannel,
};

/// A kind of channel: bytes go in at one side and come out at the other.
pub(crate) trait Kind {
    type Writer: WriteChannel + Debug + Send;
    type Reader: ReadChannel;

    /// Whether what is written can be read at all.
    const KEEPS: bool = true;

    /// Runs both sides, each of which drops its channel in the end.
    fn transfer<A: Send, B>(
        write: impl FnOnce(Self::Writer) -> A + Send,
        read: impl FnOnce(Self::Reader) -> B,
    ) -> (A, B);
}

/// A kind of channel that need not wait.
pub(crate) trait NonBlocking {
    type Writer: WriteChannel + Debug;
    type Reader: ReadChannel;

    fn pair() -> (Self::Writer, Self::Reader);
}

/// Both sides at once: what is written is read meanwhile.
fn at_once<W: Send, R, A: Send, B>(
    (writer, reader): (W, R),
    write: impl FnOnce(W) -> A + Send,
    read: impl FnOnce(R) -> B,
) -> (A, B) {
    std::thread::scope(|scope| {
        let written = scope.spawn(|| write(writer));
        let read = read(reader);
        (written.join().unwrap(), read)
    })
}

/// The halves of two connected sockets that point the same way.
fn one_way((here, there): (Socket, Socket)) -> (SocketWriter, SocketReader) {
    (here.split().1, there.split().0)
}

fn unblocked(
    (mut writer, mut reader): (SocketWriter, SocketReader),
) -> (SocketWriter, SocketReader) {
    writer.set_blocking(Blocking::Never);
    reader.set_blocking(Blocking::Never);
    (writer, reader)
}

macro_rules! socket {
    ($kind:ident, $doc:literal, $pair:expr) => {
        #[doc = $doc]
        pub(crate) struct $kind;

        impl Kind for $kind {
            type Writer = SocketWriter;
            type Reader = SocketReader;

            fn transfer<A: Send, B>(
                write: impl FnOnce(SocketWriter) -> A + Send,
                read: impl FnOnce(SocketReader) -> B,
            ) -> (A, B) {
                at_once(one_way($pair), write, read)
            }
        }

        impl NonBlocking for $kind {
            type Writer = SocketWriter;
            type Reader = SocketReader;

            fn pair() -> (SocketWriter, SocketReader) {
                unblocked(one_way($pair))
            }
        }
    };
}

socket!(Unix, "A unix socket.", Socket::pair().unwrap());
socket!(Tcp, "A TCP connection to ourselves.", tcp_pair());
socket!(
    Injected,
    "A connected socket that somebody else has made.",
    injected_pair()
);

pub(crate) fn tcp_pair() -> (Socket, Socket) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (there, _) = listener.accept().unwrap();
    (here.into(), there.into())
}

fn injected_pair() -> (Socket, Socket) {
    let (here, there) = UnixStream::pair().unwrap();
    let injected = |stream| Socket::new(OwnedFd::from(stream));
    (injected(here), injected(there))
}

/// TLS, from a client to a server.
#[cfg(feature = "tls")]
pub(crate) struct Tls;

#[cfg(feature = "tls")]
impl Kind for Tls {
    type Writer = vmferry::channel::tls::TlsWriter;
    type Reader = vmferry::channel::tls::TlsReader;

    fn transfer<A: Send, B>(
        write: impl FnOnce(Self::Writer) -> A + Send,
        read: impl FnOnce(Self::Reader) -> B,
    ) -> (A, B) {
        at_once(crate::tls::pair(), write, read)
    }
}

#[cfg(feature = "tls")]
impl NonBlocking for Tls {
    type Writer = vmferry::channel::tls::TlsWriter;
    type Reader = vmferry::channel::tls::TlsReader;

    fn pair() -> (Self::Writer, Self::Reader) {
        let (mut writer, mut reader) = crate::tls::pair();
        writer.set_blocking(Blocking::Never);
        reader.set_blocking(Blocking::Never);
        (writer, reader)
    }
}

/// A pipe, as an inherited descriptor may be one.
pub(crate) struct Pipe;

impl Kind for Pipe {
    type Writer = Fd;
    type Reader = Fd;

    fn transfer<A: Send, B>(
        write: impl FnOnce(Fd) -> A + Send,
        read: impl FnOnce(Fd) -> B,
    ) -> (A, B) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        at_once((Fd::new(writer), Fd::new(reader)), write, read)
    }
}

impl NonBlocking for Pipe {
    type Writer = Fd;
    type Reader = Fd;

    fn pair() -> (Fd, Fd) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        (Fd::new(writer), Fd::new(reader))
    }
}

/// A child process that gives back what it gets.
pub(crate) struct Cat;

impl Kind for Cat {
    type Writer = ExecWriter;
    type Reader = ExecReader;

    fn transfer<A: Send, B>(
        write: impl FnOnce(ExecWriter) -> A + Send,
        read: impl FnOnce(ExecReader) -> B,
    ) -> (A, B) {
        let (reader, writer) = Exec::spawn(Command::new("cat")).unwrap().split();
        at_once((writer, reader), write, read)
    }
}

/// A file that is written and then read.
pub(crate) struct TempFile;

impl Kind for TempFile {
    type Writer = File;
    type Reader = File;

    fn transfer<A: Send, B>(
        write: impl FnOnce(File) -> A + Send,
        read: impl FnOnce(File) -> B,
    ) -> (A, B) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        let written = write(File::create(&path).unwrap());
        (written, read(File::open(&path).unwrap()))
    }
}

/// Memory that is written and then read.
pub(crate) struct InMemory;

/// [`Memory`] that is still there when the channel is gone.
#[derive(Debug)]
pub(crate) struct Lasting(Arc<Mutex<Memory>>);

impl WriteChannel for Lasting {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        self.0.lock().unwrap().write_segments(segments)
    }
}

impl Kind for InMemory {
    type Writer = Lasting;
    type Reader = Bytes<'static>;

    fn transfer<A: Send, B>(
        write: impl FnOnce(Lasting) -> A + Send,
        read: impl FnOnce(Bytes<'static>) -> B,
    ) -> (A, B) {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let written = write(Lasting(Arc::clone(&memory)));
        let bytes = std::mem::take(&mut memory.lock().unwrap().0);
        // `Bytes` borrows, and a kind has no lifetime; the test does not last long.
        (written, read(Bytes::new(bytes.leak())))
    }
}

/// What the standard library reads and writes.
pub(crate) struct StdIo;

impl Kind for StdIo {
    type Writer = Std<Shared>;
    type Reader = Std<Cursor<Vec<u8>>>;

    fn transfer<A: Send, B>(
        write: impl FnOnce(Std<Shared>) -> A + Send,
        read: impl FnOnce(Std<Cursor<Vec<u8>>>) -> B,
    ) -> (A, B) {
        let bytes = Shared::default();
        let written = write(Std::new(bytes.clone()));
        let bytes = std::mem::take(&mut *bytes.0.lock().unwrap());
        (written, read(Std::new(Cursor::new(bytes))))
    }
}

/// A vector that is still there when the channel is gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing.
pub(crate) struct Nowhere;

impl Kind for Nowhere {
    type Writer = Null;
    type Reader = Null;

    const KEEPS: bool = false;

    fn transfer<A: Send, B>(
        write: impl FnOnce(Null) -> A + Send,
        read: impl FnOnce(Null) -> B,
    ) -> (A, B) {
        (write(Null), read(Null))
    }
}
