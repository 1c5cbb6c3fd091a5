//! The client: commands out, replies and events in.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use serde_json::{Value, json};

use super::message::{Message, Refusal};
use super::transport::{self, Lines};
use super::{Error, Event, Result, Version};

/// How long a command may take, unless told otherwise. QEMU answers within milliseconds while its
/// main loop turns.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Events that are kept for a subscriber who does not look.
const QUEUE: usize = 4096;

type Outcome = std::result::Result<Value, Refusal>;

/// A connection to a monitor that is ready for commands. It can be used from several threads.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    /// Closing it wakes the reader up, and ends it.
    wake: Option<OwnedFd>,
    reader: Option<JoinHandle<()>>,
    version: Option<Version>,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// Keeps two commands from being written into each other.
    writing: Mutex<()>,
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
        let deadline = Instant::now() + patience;
        let mut lines = Lines::default();
        let version = loop {
            if let Some(line) = lines.next() {
                match Message::parse(&line)? {
                    Message::Greeting(version) => break version,
                    _ => {
                        let what = "something else than a greeting".into();
                        return Err(Error::Protocol { what });
                    }
                }
            }
            let [came] = transport::readable([socket.as_fd()], Some(deadline))?;
            if !came {
                return Err(Error::NoGreeting { waited: patience });
            }
            if !lines.fill(socket.as_fd())? {
                return Err(Error::Closed);
            }
        };
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
        // A byte that is no text makes QEMU forget half a command. It answers with an error
        // without an id, which nobody waits for.
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        transport::send(client.shared.socket.as_fd(), b"\xff\n", &[], deadline)?;
        Ok(client)
    }

    fn start(socket: OwnedFd, lines: Lines, version: Option<Version>) -> Result<Self> {
        let (wake_reader, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(std::io::Error::from)?;
        let shared = Arc::new(Shared {
            socket,
            writing: Mutex::new(()),
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

    /// Runs a command and gives what it returns. `arguments` is an object, or null for none.
    ///
    /// # Errors
    /// QEMU refuses the command, does not answer in half a minute, or goes away.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_with(command, arguments, &[], COMMAND_TIMEOUT)
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
        let sent = {
            let _writing = self
                .shared
                .writing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            transport::send(self.shared.socket.as_fd(), &text, fds, deadline)
        };
        let reply = match sent {
            Ok(()) => reply.recv_deadline(deadline),
            Err(error) => {
                self.shared.state().pending.remove(&id);
                return Err(match error.kind() {
                    std::io::ErrorKind::BrokenPipe => Error::Closed,
                    _ => error.into(),
                });
            }
        };
        match reply {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(refusal)) => Err(Error::Refused {
                command: command.to_owned(),
                class: refusal.class,
                description: refusal.description,
            }),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Closed),
            Err(RecvTimeoutError::Timeout) => {
                self.shared.state().pending.remove(&id);
                Err(Error::Timeout {
                    command: command.to_owned(),
                    waited: patience,
                })
            }
        }
    }

    /// Gives QEMU a descriptor under a name, for `fd:NAME`.
    ///
    /// # Errors
    /// As for [`Client::execute`].
    pub fn getfd(&self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        self.execute_with("getfd", json!({"fdname": name}), &[fd], COMMAND_TIMEOUT)
            .map(drop)
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

/// Events in the order in which they came.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
}

impl Events {
    /// The queue itself, for waiting on several things at once. It ends when the connection does.
    pub fn receiver(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// The next event that `wanted` takes, passing over others, until `deadline`.
    ///
    /// # Errors
    /// None came in time (`what` says what was waited for), or the connection is closed.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Instant,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            match self.receiver.recv_deadline(deadline) {
                Ok(event) => {
                    if let Some(found) = wanted(&event) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::Timeout {
                        command: what.to_owned(),
                        waited: began.elapsed(),
                    });
                }
            }
        }
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
