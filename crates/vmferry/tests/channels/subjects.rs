//! The channels, each with its two ends.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use vmferry::channel::{
    Bytes, Duplex, Exec, ExecReader, ExecWriter, Fd, File, Memory, ReadChannel, Socket,
    SocketReader, SocketWriter, Std, WriteChannel,
};

/// A way for bytes to go.
pub(crate) trait Subject {
    /// Where they go in.
    type Writer: WriteChannel + std::fmt::Debug + Send + 'static;
    /// Where they come out.
    type Reader: ReadChannel + Send + 'static;

    /// Whether both ends exist at the same time, so that one can wait for the other.
    const LIVE: bool = true;

    /// Lets `write` write, and `read` read what it has written.
    fn pass<T>(write: impl FnOnce(Self::Writer) + Send, read: impl FnOnce(Self::Reader) -> T) -> T;
}

/// Both ends at once: the writer in a thread of its own.
fn at_once<W: Send, R, T>(
    (writer, reader): (W, R),
    write: impl FnOnce(W) + Send,
    read: impl FnOnce(R) -> T,
) -> T {
    std::thread::scope(|scope| {
        scope.spawn(|| write(writer));
        read(reader)
    })
}

pub(crate) struct Unix;

impl Subject for Unix {
    type Writer = SocketWriter;
    type Reader = SocketReader;

    fn pass<T>(write: impl FnOnce(SocketWriter) + Send, read: impl FnOnce(SocketReader) -> T) -> T {
        let (one, other) = UnixStream::pair().unwrap();
        at_once(
            (Socket::from(one).split().1, Socket::from(other).split().0),
            write,
            read,
        )
    }
}

pub(crate) struct Tcp;

pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

impl Subject for Tcp {
    type Writer = SocketWriter;
    type Reader = SocketReader;

    fn pass<T>(write: impl FnOnce(SocketWriter) + Send, read: impl FnOnce(SocketReader) -> T) -> T {
        let (one, other) = tcp_pair();
        at_once(
            (Socket::from(one).split().1, Socket::from(other).split().0),
            write,
            read,
        )
    }
}

/// What a vsock is once it is connected: a descriptor of a stream socket. There are no virtual
/// sockets here to connect.
pub(crate) struct Injected;

impl Subject for Injected {
    type Writer = SocketWriter;
    type Reader = SocketReader;

    fn pass<T>(write: impl FnOnce(SocketWriter) + Send, read: impl FnOnce(SocketReader) -> T) -> T {
        let (one, other) = UnixStream::pair().unwrap();
        at_once(
            (Socket::new(one).split().1, Socket::new(other).split().0),
            write,
            read,
        )
    }
}

pub(crate) struct Pipe;

impl Subject for Pipe {
    type Writer = Fd;
    type Reader = Fd;

    fn pass<T>(write: impl FnOnce(Fd) + Send, read: impl FnOnce(Fd) -> T) -> T {
        let (output, input) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        at_once((Fd::new(input), Fd::new(output)), write, read)
    }
}

/// A child that hands on what it gets.
pub(crate) struct Child;

impl Subject for Child {
    type Writer = ExecWriter;
    type Reader = ExecReader;

    fn pass<T>(write: impl FnOnce(ExecWriter) + Send, read: impl FnOnce(ExecReader) -> T) -> T {
        let (reader, writer) = Exec::spawn(Exec::shell("cat")).unwrap().split();
        at_once((writer, reader), write, read)
    }
}

pub(crate) struct Adapted;

impl Subject for Adapted {
    type Writer = Std<UnixStream>;
    type Reader = Std<UnixStream>;

    fn pass<T>(
        write: impl FnOnce(Std<UnixStream>) + Send,
        read: impl FnOnce(Std<UnixStream>) -> T,
    ) -> T {
        let (one, other) = UnixStream::pair().unwrap();
        at_once((Std::new(one), Std::new(other)), write, read)
    }
}

pub(crate) struct OnDisk;

impl Subject for OnDisk {
    type Writer = File;
    type Reader = File;
    const LIVE: bool = false;

    fn pass<T>(write: impl FnOnce(File) + Send, read: impl FnOnce(File) -> T) -> T {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(File::create(file.path()).unwrap());
        read(File::open(file.path()).unwrap())
    }
}

/// A vector that outlives the stream into it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedMemory(std::sync::Arc<std::sync::Mutex<Memory>>);

impl WriteChannel for SharedMemory {
    fn write_segments(
        &mut self,
        segments: &[vmferry::channel::Segment<'_>],
    ) -> std::io::Result<usize> {
        self.0.lock().unwrap().write_segments(segments)
    }
}

pub(crate) struct InMemory;

impl Subject for InMemory {
    type Writer = SharedMemory;
    type Reader = Bytes<'static>;
    const LIVE: bool = false;

    fn pass<T>(
        write: impl FnOnce(SharedMemory) + Send,
        read: impl FnOnce(Bytes<'static>) -> T,
    ) -> T {
        let memory = SharedMemory::default();
        write(memory.clone());
        let bytes = std::mem::take(&mut memory.0.lock().unwrap().0);
        read(Bytes::new(bytes.leak()))
    }
}
