//! The QEMU that is restored into: one that waits, or one that we start.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::{bounded, select};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::Value;

use crate::command::save::{GREETING, no_monitor};
use crate::exit;
use crate::machine::{self, LastWords, shell_words};
use crate::qmp::Client;
use crate::ui::{self, Signals};

/// How long a QEMU that was just started may take to greet: it may have memory to reserve.
const START: Duration = Duration::from_secs(60);

/// How long a QEMU whose stream has ended may take to end, or to say that it has failed.
pub(super) const END: Duration = Duration::from_secs(5);

/// The monitor that is added to a QEMU that we start.
const MONITOR: &str = "vmferry-monitor";

/// The QEMU that is restored into.
pub(super) struct Destination {
    client: Client,
    words: LastWords,
    held_back: Option<bool>,
    started: Option<Started>,
}

/// A QEMU that we have started.
struct Started {
    child: Child,
    daemon: Option<Daemon>,
}

/// What is left of a QEMU that was told to go into the background (`-daemonize`): our child ends as soon as it has
/// come up, and that is not its end.
struct Daemon {
    pidfile: Option<PathBuf>,
}

impl Destination {
    /// One that waits with `-incoming defer`.
    pub(super) fn attach(socket: &Path) -> Result<Self> {
        let client = Client::connect(socket, GREETING).map_err(no_monitor)?;
        Ok(Self {
            words: LastWords::of(client.peer_pid().ok()),
            held_back: machine::was_started_paused(&client),
            client,
            started: None,
        })
    }

    /// Starts one: the words as they are, without a shell, with an incoming side and a monitor added.
    pub(super) fn start(words: &[String], cwd: Option<&Path>) -> Result<Self> {
        let (program, arguments) = words.split_first().context("which command?")?;
        if arguments
            .iter()
            .any(|word| word == "-incoming" || word == "--incoming")
        {
            bail!("leave '-incoming' out of the command: it is added as '-incoming defer'");
        }
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        // No other thread starts a process meanwhile.
        rustix::io::fcntl_setfd(&theirs, FdFlags::empty())?;
        let mut command = Command::new(program);
        command.args(arguments).args(["-incoming", "defer"]).args([
            "-chardev",
            &format!("socket,id={MONITOR},fd={}", theirs.as_fd().as_raw_fd()),
            "-mon",
            &format!("chardev={MONITOR},mode=control"),
        ]);
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        command.stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", shell_words(words)))?;
        drop(theirs);
        let stderr = child.stderr.take().context("no standard error")?;
        let last_words = LastWords::pass_on(stderr)?;
        let daemon = Daemon::of(arguments, cwd);
        match Client::greet(ours.into(), START) {
            Ok(client) => Ok(Self {
                client,
                words: last_words,
                held_back: Some(machine::holds_back(arguments)),
                started: Some(Started { child, daemon }),
            }),
            Err(error) => {
                let status = ended(&mut child, END).map(|status| format!(" ({status})"));
                let text = format!("QEMU did not start{}", status.unwrap_or_default());
                let _ = child.kill();
                let _ = child.wait();
                Err(match last_words.said() {
                    Some(words) => anyhow!("{text}: {words}"),
                    None => anyhow::Error::from(error).context(text),
                })
            }
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// What it has said since then on its standard error.
    pub(super) fn words(&self) -> &LastWords {
        &self.words
    }

    /// Whether it was started with `-S`, where that can be seen.
    pub(super) fn held_back(&self) -> Option<bool> {
        self.held_back
    }

    /// Whether we have started it, and it does not outlive us.
    pub(super) fn is_ours(&self) -> bool {
        self.started.is_some()
    }

    /// The process that we started.
    pub(super) fn pid(&self) -> Option<u32> {
        let started = self.started.as_ref()?;
        match &started.daemon {
            Some(daemon) => daemon.pid(),
            None => Some(started.child.id()),
        }
    }

    /// Stays with a QEMU that we started until it ends, and ends as it does. One in the background is left there.
    pub(super) fn stay_with(self, signals: &Signals) -> Result<ExitCode> {
        let Some(mut started) = self.started else {
            return Ok(ExitCode::SUCCESS);
        };
        if let Some(daemon) = &started.daemon {
            let pid = daemon.pid().map(|pid| format!(" (process {pid})"));
            ui::note(format_args!(
                "QEMU goes on in the background{}",
                pid.unwrap_or_default()
            ));
            return Ok(ExitCode::SUCCESS);
        }
        let pid = Pid::from_child(&started.child);
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        let (sender, ended) = bounded(1);
        std::thread::Builder::new()
            .name("wait".into())
            .spawn(move || {
                let _ = sender.send(started.child.wait());
            })?;
        loop {
            select! {
                recv(ended) -> status => return Ok(exit_code(status??)),
                recv(signals.receiver()) -> _ => {
                    // From a terminal it has got the signal already; once more does no harm.
                    let _ = rustix::process::pidfd_send_signal(&process, Signal::TERM);
                }
            }
        }
    }

    /// Ends a QEMU that we started, if it does not end by itself within `patience`; then its status is given.
    pub(super) fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        let started = self.started.as_mut()?;
        if started.daemon.is_some() {
            // It may have gone already.
            let _ = self.client.execute("quit", Value::Null);
            let _ = started.child.wait();
            return None;
        }
        let status = ended(&mut started.child, patience);
        if status.is_none() {
            let _ = started.child.kill();
            let _ = started.child.wait();
        }
        status
    }
}

impl Daemon {
    fn of(arguments: &[String], cwd: Option<&Path>) -> Option<Self> {
        let is = |name: &'static str| {
            move |word: &String| {
                word.strip_prefix('-')
                    .is_some_and(|word| word.strip_prefix('-').unwrap_or(word) == name)
            }
        };
        arguments.iter().find(|word| is("daemonize")(word))?;
        let option = arguments.iter().position(is("pidfile"));
        let pidfile = option.and_then(|at| arguments.get(at + 1));
        let pidfile = pidfile.map(|file| match cwd {
            Some(cwd) => cwd.join(file),
            None => PathBuf::from(file),
        });
        Some(Self { pidfile })
    }

    fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.pidfile.as_ref()?).ok()?;
        text.trim().parse().ok()
    }
}

/// Waits a little for the end of a process that has no reason to go on.
fn ended(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let process = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()?;
    let mut polled = [rustix::event::PollFd::new(
        &process,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut polled, patience.try_into().ok().as_ref()).ok()?;
    child.try_wait().ok().flatten()
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(exit::COULD_NOT),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_qemu_that_goes_into_the_background_is_known_by_its_option() {
        let cwd = Some(Path::new("/run"));
        assert!(Daemon::of(&words(&["-m", "64"]), cwd).is_none());
        let daemon = Daemon::of(&words(&["--daemonize", "-pidfile", "q.pid"]), cwd).unwrap();
        assert_eq!(daemon.pidfile.as_deref(), Some(Path::new("/run/q.pid")));
        let daemon = Daemon::of(&words(&["-daemonize", "-pidfile"]), cwd).unwrap();
        assert_eq!(daemon.pid(), None);
    }
}
