//! The QEMU that is restored into: one that waits, or one that we start.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::{bounded, select};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::transfer::Failed;
use crate::command::save::{GREETING, no_monitor};
use crate::machine::shell_words;
use crate::migration;
use crate::qmp::Client;
use crate::ui::Signals;

/// How long a QEMU that was just started may take to greet: it may have memory to reserve.
const START: Duration = Duration::from_secs(60);

/// How long a QEMU that has closed its monitor may take to end.
const END: Duration = Duration::from_secs(5);

/// How long a QEMU may take to show that it ends: it closes the channel of the stream first.
const SHOW: Duration = Duration::from_millis(500);

/// How often its state is asked for meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// The monitor that is added to a QEMU that we start.
const MONITOR: &str = "vmferry-monitor";

/// The QEMU that is restored into.
pub(super) struct Destination {
    client: Client,
    child: Option<Child>,
}

impl Destination {
    /// One that waits with `-incoming defer`.
    pub(super) fn attach(socket: &Path) -> Result<Self> {
        let client = Client::connect(socket, GREETING).map_err(no_monitor)?;
        Ok(Self {
            client,
            child: None,
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
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", shell_words(words)))?;
        drop(theirs);
        match Client::greet(ours.into(), START) {
            Ok(client) => Ok(Self {
                client,
                child: Some(child),
            }),
            Err(error) => {
                let status = ended(&mut child, END).map(|status| format!(" ({status})"));
                let text = format!("QEMU did not start{}", status.unwrap_or_default());
                let _ = child.kill();
                let _ = child.wait();
                Err(anyhow::Error::from(error).context(text))
            }
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The process that we started.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Stays with a QEMU that we started until it ends, and ends as it does.
    pub(super) fn stay_with(self, signals: &Signals) -> Result<ExitCode> {
        let Some(mut child) = self.child else {
            return Ok(ExitCode::SUCCESS);
        };
        let process = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let (sender, ended) = bounded(1);
        std::thread::Builder::new()
            .name("wait".into())
            .spawn(move || {
                let _ = sender.send(child.wait());
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

    /// Why a restore failed, with what became of QEMU; one that we started and that has no guest is
    /// ended. Nothing failed if such a QEMU ended well because its guest, which ran, did.
    pub(super) fn explain(&mut self, failed: Failed) -> Option<anyhow::Error> {
        let (error, ran) = match failed {
            Failed::WhileTheGuestRan(error) if self.holds_the_guest() => {
                return Some(error.context(
                    "QEMU holds the guest in 'postcopy-paused': what it has is kept, and it waits for \
                     the rest of its memory",
                ));
            }
            Failed::WhileTheGuestRan(error) => (error, true),
            Failed::BeforeTheGuestRan(error) => (error, false),
        };
        let Some(child) = &mut self.child else {
            return Some(error);
        };
        // A QEMU that could not load its machine ends by itself.
        let patience = if self.client.is_closed() { END } else { SHOW };
        match ended(child, patience) {
            Some(status) if status.success() && ran => None,
            Some(status) => {
                Some(error.context(anyhow!("QEMU has ended ({status}); it says why above")))
            }
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Some(error)
            }
        }
    }
}

impl Destination {
    /// Whether QEMU keeps a guest that lacks memory. One that could not load its machine ends, or
    /// says that it has failed.
    fn holds_the_guest(&self) -> bool {
        let deadline = Instant::now() + SHOW;
        while Instant::now() < deadline {
            match migration::glance(&self.client) {
                Ok(Some(status)) if status.name() == "postcopy-paused" => return true,
                Ok(Some(status)) if status.name() == "failed" => return false,
                // Its monitor stands still when a thread that it needs waits for memory, too.
                Ok(_) => std::thread::sleep(LOOK),
                Err(_) => return false,
            }
        }
        !self.client.is_closed()
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
            .unwrap_or(super::super::COULD_NOT),
    )
}
