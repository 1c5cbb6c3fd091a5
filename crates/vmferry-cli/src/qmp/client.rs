//! The client: commands out, replies and events in.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use serde_json::{Value, json};

use super::message::{Message, Refusal};
use super::transport::{self, Lines};
use super::{Error, Event, Events, Result, Version, greeting};

/// How long a command may take, unless told otherwise. QEMU answers within milliseconds while its
/// main loop turns.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Events that are kept for a subscriber who does not look.
const QUEUE: usize = 4096;

/// A byte that is not text makes QEMU forget half a command. It answers with an error without an id,
/// which nobody waits for.
const FORGET: &[u8; 2] = b"\xff\n";

type Outcome = std::result::Result<Value, Refusal>;

/// A connection to a monitor that is ready for commands. It can be used from several threads.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    /// Closing it wakes the reader up, and ends it.
    wake: Option<OwnedFd>,
    reader: Option<JoinHandle<()>>,
    version: Option<Version>,
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// Keeps two commands from being written into each other; true if the last one may have been
    /// written in part.
    writing: Mutex<bool>,
    last_id: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<String, Sender<Outcome>>,
    subscribers: Vec<Sender<Event>>,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Connects to a monitor that listens at `path`, and makes it ready for commands.
    ///
    /// # Errors
    /// Nobody listens there; no greeting comes within `patience`; or what comes is none.
    pub fn connect(path: &Path, patience: Duration) -> Result<Self> {
        let socket = transport::connect(path).map_err(|source| Error::Connect {
            path: path.to_owned(),
            source,
        })?;
        let socket = socket.ok_or(Error::NoGreeting { waited: patience })?;
        Self::greet(socket, patience)
    }

    /// Makes a monitor at the other end of `socket`, which has not greeted yet, ready for commands.
    ///
    /// # Errors
    /// No greeting comes within `patience`, or what comes is none.
    pub fn greet(socket: OwnedFd, patience: Duration) -> Result<Self> {
        let mut lines = Lines::default();
        let version = greeting::wait(&socket, &mut lines, patience)?;
        let client = Self::start(socket, lines, Some(version))?;
        client.execute("qmp_capabilities", Value::Null)?;
        Ok(client)
    }

    /// Takes over a connection that another process has used until now: one that was greeted long
    /// ago, and may stand in the middle of a message in either direction.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn adopt(socket: OwnedFd) -> Result<Self> {
        let client = Self::start(socket, Lines::torn(), None)?;
        *client
            .shared
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        Ok(client)
    }

    fn start(socket: OwnedFd, lines: Lines, version: Option<Version>) -> Result<Self> {
        let (wake_reader, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(std::io::Error::from)?;
        let shared = Arc::new(Shared {
            socket,
            writing: Mutex::new(false),
            last_id: AtomicU64::new(0),
            state: Mutex::default(),
        });
        let for_reader = Arc::clone(&shared);
        let reader = std::thread::Builder::new()
            .name("qmp".into())
            .spawn(move || read(&for_reader, &wake_reader, lines))?;
        Ok(Self {
            shared,
            wake: Some(wake),
            reader: Some(reader),
            version,
            patience: COMMAND_TIMEOUT,
        })
    }

    /// Which QEMU this is; unknown on a connection that was taken over.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// The process at the other end.
    ///
    /// # Errors
    /// The system does not tell, as for a socket that is not local.
    pub fn peer_pid(&self) -> Result<rustix::process::Pid> {
        let credentials = rustix::net::sockopt::socket_peercred(&self.shared.socket);
        Ok(credentials.map_err(std::io::Error::from)?.pid)
    }

    /// The socket, to be handed to a process that may have to [take over](Client::adopt).
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.shared.socket.as_fd()
    }

    /// Sets how long a command may take unless its caller says otherwise; half a minute at first.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Runs a command and gives its result.
    ///
    /// # Errors
    /// QEMU refuses the command, does not answer within the client's patience, or goes away.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_with(command, arguments, &[], self.patience)
    }

    /// Runs a command that may take as long as `patience`, and sends descriptors along.
    ///
    /// # Errors
    /// QEMU refuses the command, does not answer in time, or goes away.
    pub fn execute_with(
        &self,
        command: &str,
        arguments: Value,
        fds: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<Value> {
        let deadline = Instant::now() + patience;
        let pending = self.send(command, arguments, fds, deadline)?;
        match pending.reply.recv_deadline(deadline) {
            Ok(outcome) => pending.result(outcome),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Closed),
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout {
                command: command.to_owned(),
                waited: patience,
            }),
        }
    }

    /// Sends a command without waiting for its reply: for a monitor that may be busy just now. If its
    /// socket is full, the command is not sent.
    ///
    /// # Errors
    /// QEMU is gone, or its socket is full.
    pub fn begin(&self, command: &str, arguments: Value) -> Result<Pending<'_>> {
        self.send(command, arguments, &[], Instant::now())
    }

    fn send(
        &self,
        command: &str,
        arguments: Value,
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<Pending<'_>> {
        // Unique also on a connection that another process has used before.
        let number = self.shared.last_id.fetch_add(1, Ordering::Relaxed);
        let id = format!("vmferry-{}-{number}", std::process::id());
        let mut message = json!({"execute": command, "id": id});
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let mut text = message.to_string().into_bytes();
        text.push(b'\n');

        let (sender, reply) = bounded(1);
        {
            let mut state = self.shared.state();
            if state.closed {
                return Err(Error::Closed);
            }
            state.pending.insert(id.clone(), sender);
        }
        let pending = Pending {
            shared: &self.shared,
            command: command.to_owned(),
            id,
            reply,
        };
        let mut torn = self
            .shared
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *torn {
            text.splice(0..0, *FORGET);
        }
        let sent = transport::send(self.shared.socket.as_fd(), &text, fds, deadline);
        *torn = sent.is_err();
        match sent {
            Ok(()) => Ok(pending),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::Closed),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the connection has come to its end.
    pub fn is_closed(&self) -> bool {
        self.shared.state().closed
    }

    /// Gives QEMU a descriptor under a name, for `fd:NAME`.
    ///
    /// # Errors
    /// As for [`Client::execute`].
    pub fn getfd(&self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        self.execute_with("getfd", json!({"fdname": name}), &[fd], self.patience)
            .map(drop)
            .map_err(Error::of_getfd)
    }

    /// Runs a command of the human monitor and gives its text.
    ///
    /// # Errors
    /// As for [`Client::execute`].
    pub fn human(&self, line: &str) -> Result<String> {
        let value = self.execute("human-monitor-command", json!({"command-line": line}))?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    /// Events from now on.
    pub fn subscribe(&self) -> Events {
        let (sender, receiver) = bounded(QUEUE);
        let mut state = self.shared.state();
        if !state.closed {
            state.subscribers.push(sender);
        }
        Events { receiver }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has already said so.
            let _ = reader.join();
        }
    }
}

/// A command that was sent, and whose reply has not been taken.
#[derive(Debug)]
pub struct Pending<'a> {
    shared: &'a Shared,
    command: String,
    id: String,
    reply: Receiver<Outcome>,
}

impl Pending<'_> {
    /// The reply, if it has arrived; else the command, to be asked again.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn poll(self) -> std::result::Result<Result<Value>, Self> {
        match self.reply.try_recv() {
            Ok(outcome) => Ok(self.result(outcome)),
            Err(TryRecvError::Disconnected) => Ok(Err(Error::Closed)),
            Err(TryRecvError::Empty) => Err(self),
        }
    }

    fn result(&self, outcome: Outcome) -> Result<Value> {
        outcome.map_err(|refusal| Error::Refused {
            command: self.command.clone(),
            class: refusal.class,
            description: refusal.description,
        })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // A reply that arrives later has nobody to go to.
        self.shared.state().pending.remove(&self.id);
    }
}

fn read(shared: &Shared, wake: &OwnedFd, mut lines: Lines) {
    if let Err(error) = read_until_closed(shared, wake, &mut lines) {
        tracing::debug!(%error, "the monitor connection ended");
    }
    let mut state = shared.state();
    state.closed = true;
    state.pending.clear();
    state.subscribers.clear();
}

fn read_until_closed(shared: &Shared, wake: &OwnedFd, lines: &mut Lines) -> Result<()> {
    loop {
        while let Some(line) = lines.next() {
            let torn = lines.take_torn();
            match Message::parse(&line) {
                Ok(message) => dispatch(shared, message),
                Err(_) if torn || line.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        let [came, woken] = transport::readable([shared.socket.as_fd(), wake.as_fd()], None)?;
        if woken {
            return Ok(());
        }
        if came && !lines.fill(shared.socket.as_fd())? {
            return Err(Error::Closed);
        }
    }
}

fn dispatch(shared: &Shared, message: Message) {
    match message {
        Message::Event(event) => {
            tracing::trace!(event.name, %event.data, "event");
            shared.state().subscribers.retain(|subscriber| {
                match subscriber.try_send(event.clone()) {
                    Ok(()) => true,
                    Err(TrySendError::Full(event)) => {
                        tracing::warn!(event.name, "an event was dropped: nobody takes them");
                        true
                    }
                    Err(TrySendError::Disconnected(_)) => false,
                }
            });
        }
        Message::Reply { id, outcome } => {
            let waiting = id.and_then(|id| shared.state().pending.remove(&id));
            match waiting {
                // Whoever waited may have given up a moment ago.
                Some(waiting) => drop(waiting.try_send(outcome)),
                None => tracing::debug!(?outcome, "a reply that nobody waits for"),
            }
        }
        Message::Greeting(_) | Message::Other => {}
    }
}

#[cfg(test)]
mod tests;
