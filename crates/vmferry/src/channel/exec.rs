//! A child process as a channel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use super::{Duplex, Fd, Interest, ReadChannel, Segment, SegmentMut, Shutdown, WriteChannel};

/// A child process whose output is read and whose input is written.
///
/// That it failed is not lost: it is an error where the stream from it would end, or where the
/// stream to it is [closed](WriteChannel::close); of two halves, the one that is last done with it
/// tells (and of a [filter](Self::filter) its reader). A half that is dropped waits for the child without asking how it went.
#[derive(Debug)]
pub struct Exec {
    reader: ExecReader,
    writer: ExecWriter,
}

/// What a child process writes.
#[derive(Debug)]
pub struct ExecReader {
    output: Fd,
    /// The end of the output is that of the child.
    is_filter: bool,
    half: Half,
}

/// What a child process reads.
#[derive(Debug)]
pub struct ExecWriter {
    /// Closed before the child is waited for.
    input: Option<Fd>,
    half: Half,
}

impl Exec {
    /// A child that is both read and written.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(command: Command) -> io::Result<Self> {
        Self::with_both(command, false)
    }

    /// A child that ends with its output, such as one that decompresses its input: at the end of the output the reader
    /// waits for it and tells how it went, whether or not the other half is still in use.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn filter(command: Command) -> io::Result<Self> {
        Self::with_both(command, true)
    }

    fn with_both(mut command: Command, is_filter: bool) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = start(command, 2)?;
        Ok(Self {
            reader: ExecReader {
                output: started.output.ok_or(io::ErrorKind::BrokenPipe)?,
                is_filter,
                half: Half::new(&started.process),
            },
            writer: ExecWriter {
                input: started.input,
                half: Half::new(&started.process),
            },
        })
    }

    /// A child whose output is read; it gets no input.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn reader(mut command: Command) -> io::Result<ExecReader> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let started = start(command, 1)?;
        Ok(ExecReader {
            output: started.output.ok_or(io::ErrorKind::BrokenPipe)?,
            is_filter: false,
            half: Half::new(&started.process),
        })
    }

    /// A child whose input is written; its output goes where ours goes.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn writer(mut command: Command) -> io::Result<ExecWriter> {
        command.stdin(Stdio::piped());
        let started = start(command, 1)?;
        Ok(ExecWriter {
            input: started.input,
            half: Half::new(&started.process),
        })
    }

    /// The command that a shell makes of `line`, as QEMU's `exec:` means it.
    pub fn shell(line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line);
        command
    }
}

impl Duplex for Exec {
    type Reader = ExecReader;
    type Writer = ExecWriter;

    fn split(self) -> (ExecReader, ExecWriter) {
        (self.reader, self.writer)
    }
}

impl ReadChannel for ExecReader {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let read = self.output.read_segments(segments)?;
        let at_end = read == 0 && segments.iter().any(|segment| !segment.is_empty());
        if at_end {
            if self.is_filter {
                self.half.process.wait();
            }
            self.half.done()?;
        }
        Ok(read)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        ReadChannel::wait(&mut self.output, timeout)
    }

    fn capabilities(&self) -> super::Capabilities {
        ABILITIES
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::clone(&self.half.process) as _)
    }
}

impl WriteChannel for ExecWriter {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        match &mut self.input {
            Some(input) => input.write_segments(segments),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<()> {
        match &mut self.input {
            Some(input) => WriteChannel::wait(input, interest, timeout),
            None => Ok(()),
        }
    }

    fn capabilities(&self) -> super::Capabilities {
        ABILITIES
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::clone(&self.half.process) as _)
    }

    fn close(&mut self) -> io::Result<()> {
        self.input = None;
        self.half.done()
    }
}

impl Drop for ExecWriter {
    fn drop(&mut self) {
        // Before the half waits for a child that waits for this.
        self.input = None;
    }
}

/// One of those who use a child.
#[derive(Debug)]
struct Half {
    process: Arc<Process>,
    is_done: bool,
}

impl Half {
    fn new(process: &Arc<Process>) -> Self {
        Self {
            process: Arc::clone(process),
            is_done: false,
        }
    }

    /// This half needs the child no more; the last one waits for it. Tells how it went, where that is known.
    fn done(&mut self) -> io::Result<()> {
        if !self.is_done {
            self.is_done = true;
            if self.process.users.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.process.wait();
            }
        }
        match self.process.end.get() {
            Some(Err(how)) => Err(io::Error::other(how.clone())),
            _ => Ok(()),
        }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // Whoever wanted to know has asked; what is left is not to leave a zombie.
        let _ = self.done();
    }
}

/// A child, and how it went.
struct Process {
    /// Gone once its end was taken note of: from then on its number may be another's.
    child: Mutex<Option<Child>>,
    pid: Pid,
    /// Can be waited for without holding the child.
    pidfd: OwnedFd,
    users: AtomicUsize,
    end: OnceLock<Result<(), String>>,
}

impl Process {
    fn wait(&self) {
        self.end.get_or_init(|| {
            let ends = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(Errno::INTR) = waitid(WaitId::PidFd(self.pidfd.as_fd()), ends) {}
            let child = self.child().take();
            match child.map(|mut child| child.wait()) {
                None => Ok(()),
                Some(Ok(status)) if status.success() => Ok(()),
                Some(Ok(status)) => Err(format!("the command failed: {status}")),
                Some(Err(error)) => Err(format!("the command cannot be waited for: {error}")),
            }
        });
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shutdown for Process {
    /// Kills the child, and whatever it has started in its turn: all of them hold the pipes open.
    fn shutdown(&self) -> io::Result<()> {
        let child = self.child();
        if child.is_none() {
            return Ok(());
        }
        match kill_process_group(self.pid, Signal::KILL) {
            Err(Errno::SRCH) => Ok(()),
            result => Ok(result?),
        }
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// A child that was just started, with the ends of its pipes.
struct Started {
    process: Arc<Process>,
    output: Option<Fd>,
    input: Option<Fd>,
}

/// Starts a child, in a process group of its own, that `users` halves use.
// Taken by value, because it is used up.
#[allow(clippy::needless_pass_by_value)]
fn start(mut command: Command, users: usize) -> io::Result<Started> {
    let mut child = command.process_group(0).spawn()?;
    let pid = Pid::from_child(&child);
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            // Nothing could end it later.
            child.kill()?;
            child.wait()?;
            return Err(error.into());
        }
    };
    let output = child.stdout.take().map(Fd::new);
    let input = child.stdin.take().map(Fd::new);
    let process = Process {
        child: Mutex::new(Some(child)),
        pid,
        pidfd,
        users: AtomicUsize::new(users),
        end: OnceLock::new(),
    };
    Ok(Started {
        process: Arc::new(process),
        output,
        input,
    })
}

const ABILITIES: super::Capabilities = super::Capabilities {
    shutdown: true,
    seek: false,
    positioned: false,
    descriptors: false,
    zero_copy: false,
};
