//! Processes that end when we do, however we end.
//!
//! A destructor cleans up after a test that fails, but not after one that is killed. So the kernel
//! is asked to kill each process when the thread that started it goes (`PR_SET_PDEATHSIG`, by way of
//! the base system's `setpriv`), and one thread that lives as long as the whole test program starts
//! them all. What such a process leaves running itself is found by a mark in its environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::wait;

/// The environment variable that marks our processes, and theirs.
const MARK: &str = "VMFERRY_LAB_PROCESS";

/// Between the fork and the request to the kernel we may already have been killed.
const START: &str = r#"[ "$PPID" = "$0" ] || exit 125; exec "$@""#;

/// A process of the lab's; dropping it kills it and all that it has started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    mark: String,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`: its program, arguments, variables and working directory count. Its input
    /// is empty; its output goes where it is told to.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(command: &Command, stdout: Stdio, stderr: Stdio) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let us = std::process::id();
        let mark = format!("{us}-{number}");
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL", "--", "sh", "-c", START]);
        wrapped.arg(us.to_string()).arg(command.get_program());
        wrapped.args(command.get_args());
        let variables: BTreeMap<_, _> = command.get_envs().collect();
        for (name, value) in variables {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped.env(MARK, &mark);
        wrapped.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let child = on_the_lasting_thread(wrapped).context("cannot start setpriv (util-linux)")?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .context("cannot watch a process")?;
        Ok(Self {
            child,
            pidfd,
            mark,
            status: None,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// It and all that it has started, as far as they still run.
    pub fn family(&self) -> Vec<Pid> {
        marked(&self.mark)
    }

    /// Becomes readable when the process ends.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// What the process left on its standard output, if that was [`Stdio::piped`].
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        if !wait::readable(&self.pidfd, Instant::now() + patience)? {
            bail!("process {} did not end within {patience:?}", self.id());
        }
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&self) -> bool {
        self.status.is_none() && !wait::readable(&self.pidfd, Instant::now()).unwrap_or(true)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Kills the process and all that it has started, and waits until they are gone.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        for pid in marked(&self.mark) {
            end(pid, &self.mark);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Request = (Command, SyncSender<io::Result<Child>>);

/// Starts it from a thread that ends only with the program: the kernel's promise is about the thread.
fn on_the_lasting_thread(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        let serve = move || {
            for (mut command, reply) in requests {
                // The one who asked waits for the answer.
                let _ = reply.send(command.spawn());
            }
        };
        let name = "process starter".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(serve);
        thread.expect("a thread can be started");
        Mutex::new(sender)
    });
    let (reply, answer) = sync_channel(1);
    let sender = starter.lock().unwrap_or_else(PoisonError::into_inner);
    let gone = |_| io::Error::other("the process starter is gone");
    sender.send((command, reply)).map_err(|_| gone(()))?;
    drop(sender);
    answer.recv().map_err(|_| gone(()))?
}

/// The processes that carry a mark.
fn marked(mark: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| carries(*pid, mark))
        .collect()
}

fn carries(pid: Pid, mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    environment.is_ok_and(|text| {
        text.split(|byte| *byte == 0)
            .any(|v| v == wanted.as_bytes())
    })
}

/// Kills a process, unless its number has meanwhile gone to a stranger.
fn end(pid: Pid, mark: &str) {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if carries(pid, mark) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        // Init reaps it; what matters is that it is gone when we go on.
        let _ = wait::readable(&pidfd, Instant::now() + Duration::from_secs(10));
    }
}

/// The command line of a running process.
///
/// # Errors
/// There is no such process.
pub fn command_line(pid: u32) -> Result<Vec<OsString>> {
    let text = fs::read(format!("/proc/{pid}/cmdline"))?;
    let text = text.strip_suffix(b"\0").unwrap_or(&text);
    let words = text.split(|byte| *byte == 0);
    Ok(words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect())
}
