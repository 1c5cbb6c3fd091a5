//! A child process as a channel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Duplex, Fd, Interest, ReadChannel, Segment, SegmentMut, Shutdown, WriteChannel};

/// A child process whose output is read and whose input is written.
///
/// That it failed is not lost: it is an error where the stream from it would end, or where the
/// stream to it is [closed](WriteChannel::close); of two halves, the one that is last done with it
/// tells. A half that is dropped waits for the child without asking how it went.
#[derive(Debug)]
pub struct Exec {
    reader: ExecReader,
    writer: ExecWriter,
}

/// What a child process writes.
#[derive(Debug)]
pub struct ExecReader {
    output: Fd,
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
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (mut child, process) = start(command, 2)?;
        let (output, input) = (child.output()?, child.input()?);
        process.keep(child.0);
        Ok(Self {
            reader: ExecReader {
                output,
                half: Half::new(&process),
            },
            writer: ExecWriter {
                input: Some(input),
                half: Half::new(&process),
            },
        })
    }

    /// A child whose output is read; it gets no input.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn reader(mut command: Command) -> io::Result<ExecReader> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let (mut child, process) = start(command, 1)?;
        let output = child.output()?;
        process.keep(child.0);
        let half = Half::new(&process);
        Ok(ExecReader { output, half })
    }

    /// A child whose input is written; its output goes where ours goes.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn writer(mut command: Command) -> io::Result<ExecWriter> {
        command.stdin(Stdio::piped());
        let (mut child, process) = start(command, 1)?;
        let input = Some(child.input()?);
        process.keep(child.0);
        let half = Half::new(&process);
        Ok(ExecWriter { input, half })
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

    fn close(mut self) -> io::Result<()> {
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

    /// This half needs the child no more; the last one waits for it and tells how it went.
    fn done(&mut self) -> io::Result<()> {
        if !self.is_done {
            self.is_done = true;
            if self.process.users.fetch_sub(1, Ordering::AcqRel) > 1 {
                return Ok(());
            }
            self.process.wait();
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
    child: Mutex<Option<Child>>,
    /// Names the child even if its number is taken by another, and can be used while it is waited
    /// for.
    pidfd: OwnedFd,
    users: AtomicUsize,
    end: OnceLock<Result<(), String>>,
}

impl Process {
    fn keep(&self, child: Child) {
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }

    fn wait(&self) {
        self.end.get_or_init(|| {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(child) = child.as_mut() else {
                return Ok(());
            };
            match child.wait() {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(format!("the command failed: {status}")),
                Err(error) => Err(format!("the command cannot be waited for: {error}")),
            }
        });
    }
}

impl Shutdown for Process {
    /// Kills the child, which closes its ends of the pipes.
    fn shutdown(&self) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.as_fd(), Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
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

/// A child that was just started.
struct Started(Child);

impl Started {
    fn output(&mut self) -> io::Result<Fd> {
        let output = self.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Fd::new(output))
    }

    fn input(&mut self) -> io::Result<Fd> {
        let input = self.0.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Fd::new(input))
    }
}

// Taken by value, because it is used up.
#[allow(clippy::needless_pass_by_value)]
fn start(mut command: Command, users: usize) -> io::Result<(Started, Arc<Process>)> {
    let mut child = command.spawn()?;
    let process = Pid::from_child(&child);
    let pidfd = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            // Nothing could end it later.
            child.kill()?;
            child.wait()?;
            return Err(error.into());
        }
    };
    let process = Process {
        child: Mutex::new(None),
        pidfd,
        users: AtomicUsize::new(users),
        end: OnceLock::new(),
    };
    Ok((Started(child), Arc::new(process)))
}

const ABILITIES: super::Capabilities = super::Capabilities {
    shutdown: true,
    seek: false,
    positioned: false,
    descriptors: false,
    zero_copy: false,
};
