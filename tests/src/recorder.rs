//! A place between the two ends of a migration that keeps what passes, both ways.
//!
//! QEMU connects here as to a destination: once for the main channel, and once more for each channel that
//! multifd or postcopy-preempt adds. Each connection is taken on to the real destination, in the order in
//! which it came, or ends here if there is none.
//!
//! ```no_run
//! use vmferry_tests::{Guest, Recorder};
//!
//! # fn record(source: &Guest, destination: &Guest) -> anyhow::Result<()> {
//! let onward = destination.folder().join("incoming"); // it listens at unix:…/incoming
//! let recorder = Recorder::start(source.folder(), Some(&onward))?;
//! source.migrate(&recorder.uri())?;
//! for connection in recorder.finish()? {
//!     println!("{} bytes", std::fs::metadata(connection.sent)?.len());
//! }
//! # Ok(())
//! # }
//! ```

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::{PATIENCE, wait};

/// Takes connections until it is [finished](Self::finish) or dropped.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<Result<()>>>,
    /// Its end tells the acceptor to stop.
    stop: Option<UnixStream>,
    /// Nothing is ever sent here: it hangs up when the last thread has gone.
    threads: Receiver<Infallible>,
}

/// What passed through one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// A file with what the source sent.
    pub sent: PathBuf,
    /// A file with what came back.
    pub answered: PathBuf,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    onward: Option<PathBuf>,
    connections: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    near: UnixStream,
    far: Option<UnixStream>,
    copiers: Vec<JoinHandle<Result<()>>>,
    recorded: Recorded,
}

impl Recorder {
    /// Listens in `folder`, where the files go, too. Connections go on to the socket `onward`; without one, what
    /// is sent is only kept.
    ///
    /// # Errors
    /// There is a recorder in this folder already, or no thread to be had.
    pub fn start(folder: &Path, onward: Option<&Path>) -> Result<Self> {
        let path = folder.join("recorder");
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            onward: onward.map(Path::to_owned),
            connections: Mutex::default(),
        });
        let (stop, stopped) = UnixStream::pair()?;
        let (alive, threads) = channel();
        let for_acceptor = Arc::clone(&shared);
        let acceptor = Builder::new().name("recorder".into());
        let acceptor = acceptor.spawn(move || for_acceptor.accept(&listener, &stopped, &alive))?;
        Ok(Self {
            path,
            shared,
            acceptor: Some(acceptor),
            stop: Some(stop),
            threads,
        })
    }

    /// Where a source migrates to.
    pub fn uri(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// How many connections have come so far.
    pub fn connections(&self) -> usize {
        self.shared.connections().len()
    }

    /// Ends all connections that there are, as a network that fails. Later ones are taken as before.
    pub fn cut(&self) {
        for connection in self.shared.connections().iter() {
            let _ = connection.near.shutdown(Shutdown::Both);
            if let Some(far) = &connection.far {
                let _ = far.shutdown(Shutdown::Both);
            }
        }
    }

    /// Waits until both ends have closed every connection, and gives what passed, in the order in which they
    /// came. No connection is taken after this call has begun.
    ///
    /// # Errors
    /// An end does not close, no destination was there, or a file could not be written.
    pub fn finish(mut self) -> Result<Vec<Recorded>> {
        drop(self.stop.take());
        let ended = self.threads.recv_timeout(PATIENCE);
        if ended == Err(RecvTimeoutError::Timeout) {
            bail!("a recorded connection does not end");
        }
        join(self.acceptor.take().context("finished before")?)?;
        let connections = std::mem::take(&mut *self.shared.connections());
        let recorded = connections.into_iter().map(|connection| {
            connection.copiers.into_iter().try_for_each(join)?;
            Ok(connection.recorded)
        });
        recorded.collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.cut();
        for connection in std::mem::take(&mut *self.shared.connections()) {
            for copier in connection.copiers {
                let _ = copier.join();
            }
        }
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(
        &self,
        listener: &UnixListener,
        stopped: &UnixStream,
        alive: &Sender<Infallible>,
    ) -> Result<()> {
        loop {
            // A source may have connected, sent everything and gone before we look.
            match listener.accept() {
                Ok((near, _)) => {
                    self.take(near, alive)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            let deadline = Instant::now() + PATIENCE;
            let fds = [stopped.as_fd(), listener.as_fd()];
            if let [true, false] = wait::any_readable(fds, deadline)? {
                return Ok(());
            }
        }
    }

    fn take(&self, near: UnixStream, alive: &Sender<Infallible>) -> Result<()> {
        let number = self.connections().len();
        let recorded = Recorded {
            sent: self.folder.join(format!("{number}.sent")),
            answered: self.folder.join(format!("{number}.answered")),
        };
        let far = self.onward.as_deref().map(UnixStream::connect).transpose();
        let far = far.context("no destination takes the connection")?;
        let sent = File::create(&recorded.sent)?;
        let answered = File::create(&recorded.answered)?;
        let mut copiers = vec![copier(
            near.try_clone()?,
            clone(&far)?,
            sent,
            alive.clone(),
        )?];
        if let Some(far) = clone(&far)? {
            copiers.push(copier(
                far,
                Some(near.try_clone()?),
                answered,
                alive.clone(),
            )?);
        }
        self.connections().push(Connection {
            near,
            far,
            copiers,
            recorded,
        });
        Ok(())
    }
}

fn clone(stream: &Option<UnixStream>) -> io::Result<Option<UnixStream>> {
    stream.as_ref().map(UnixStream::try_clone).transpose()
}

/// A thread that copies until the end, and passes the end on.
fn copier(
    from: UnixStream,
    to: Option<UnixStream>,
    file: File,
    alive: Sender<Infallible>,
) -> Result<JoinHandle<Result<()>>> {
    let copy = move || {
        let copied = copy(&from, to.as_ref(), file);
        if let Some(to) = &to {
            let _ = to.shutdown(Shutdown::Write);
        }
        drop(alive);
        copied
    };
    Ok(Builder::new().name("copier".into()).spawn(copy)?)
}

fn copy(mut from: &UnixStream, mut to: Option<&UnixStream>, mut file: File) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        // How an end goes away is not ours to judge: the QEMUs say what became of the migration.
        let Ok(len @ 1..) = from.read(&mut buffer) else {
            return Ok(());
        };
        let bytes = buffer.get(..len).context("more than there is room for")?;
        file.write_all(bytes)?;
        if let Some(onward) = &mut to {
            if onward.write_all(bytes).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                return Ok(());
            }
        }
    }
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread
        .join()
        .map_err(|_| anyhow!("a thread of the recorder's panicked"))?
}
