//! What a guest says: lines on its debug port or serial port, with the time at which each came.
//!
//! QEMU connects to us, not we to it. So a QEMU that somebody else starts with a command line of
//! ours (a restored guest) has a console, too: the next one that the [`Listener`] accepts.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::wait;

/// Where QEMUs connect to.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub fn bind(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The argument of `-chardev` that makes a QEMU connect here.
    pub fn chardev(&self, id: &str) -> String {
        format!("socket,id={id},path={},server=off", self.path.display())
    }

    /// The next connection; `None` if the process behind `pidfd` ends first, or at the deadline.
    ///
    /// # Errors
    /// Accepting fails.
    pub fn accept(&self, pidfd: Option<&OwnedFd>, deadline: Instant) -> Result<Option<UnixStream>> {
        let came = match pidfd {
            Some(pidfd) => {
                let fds = [self.listener.as_fd(), pidfd.as_fd()];
                wait::any_readable(fds, deadline)?[0]
            }
            None => wait::readable(&self.listener, deadline)?,
        };
        Ok(match came {
            true => Some(self.listener.accept()?.0),
            false => None,
        })
    }
}

/// One line from a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its end came here.
    pub at: Instant,
    /// Without its end.
    pub text: String,
}

/// What one guest has said since it was started. It is read all the time, so that the guest never
/// waits for a reader.
#[derive(Debug)]
pub struct Console {
    heard: Arc<Heard>,
    stream: UnixStream,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    first_byte: Option<Instant>,
    lines: Vec<Line>,
    ended: bool,
}

impl Heard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console {
    /// Listens to a guest, and writes what it says to `log`, too.
    ///
    /// # Errors
    /// The system gives no thread or no second descriptor.
    pub fn start(stream: UnixStream, log: std::fs::File) -> Result<Self> {
        let heard = Arc::new(Heard::default());
        let (for_reader, source) = (Arc::clone(&heard), stream.try_clone()?);
        let reader = std::thread::Builder::new()
            .name("console".into())
            .spawn(move || listen(&for_reader, source, log))?;
        Ok(Self {
            heard,
            stream,
            reader: Some(reader),
        })
    }

    /// All lines until now.
    pub fn lines(&self) -> Vec<Line> {
        self.heard.state().lines.clone()
    }

    /// The lines after `position`.
    pub fn lines_from(&self, position: usize) -> Vec<Line> {
        let state = self.heard.state();
        state.lines.get(position..).unwrap_or_default().to_vec()
    }

    /// How many lines there are: what [`Console::wait_from`] takes to look only at later ones.
    pub fn position(&self) -> usize {
        self.heard.state().lines.len()
    }

    /// When the very first byte came.
    pub fn first_byte(&self) -> Option<Instant> {
        self.heard.state().first_byte
    }

    /// Types something to the guest.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn write(&self, text: &str) -> Result<()> {
        Ok((&self.stream).write_all(text.as_bytes())?)
    }

    /// The first line, of those heard already and of those to come, that `wanted` takes.
    ///
    /// # Errors
    /// None came by the deadline, or the guest has ended.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Instant,
        wanted: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T> {
        self.wait_from(0, what, deadline, wanted)
    }

    /// As [`Console::wait_for`], without the first `position` lines.
    ///
    /// # Errors
    /// None came by the deadline, or the guest has ended.
    pub fn wait_from<T>(
        &self,
        position: usize,
        what: &str,
        deadline: Instant,
        mut wanted: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T> {
        let mut next = position;
        let mut state = self.heard.state();
        loop {
            while let Some(line) = state.lines.get(next) {
                if let Some(found) = wanted(line) {
                    return Ok(found);
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                let why = if state.ended {
                    "the guest's console ended"
                } else {
                    "time is up"
                };
                let last = state
                    .lines
                    .last()
                    .map_or("nothing", |line| line.text.as_str());
                bail!("waited for {what} in vain: {why}; the guest's last words were '{last}'");
            }
            let waited = self.heard.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn listen(heard: &Heard, mut source: UnixStream, mut log: std::fs::File) {
    let mut buffer = [0; 4096];
    let mut line = Vec::new();
    // An error is the end, too: QEMU was killed.
    while let Ok(len @ 1..) = source.read(&mut buffer) {
        let at = Instant::now();
        let bytes = buffer.get(..len).unwrap_or_default();
        let _ = log.write_all(bytes);
        let mut state = heard.state();
        state.first_byte.get_or_insert(at);
        for byte in bytes {
            match byte {
                b'\n' => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    state.lines.push(Line { at, text });
                    line.clear();
                }
                b'\r' => {}
                byte => line.push(*byte),
            }
        }
        drop(state);
        heard.changed.notify_all();
    }
    heard.state().ended = true;
    heard.changed.notify_all();
}
