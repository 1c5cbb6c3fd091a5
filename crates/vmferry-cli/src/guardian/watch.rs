//! The guardian's own part: watching the lifeline, and taking over.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::lifeline::{Heard, Message};
use super::note::NoteFile;
use super::{Ender, Lifeline, Plan, Resume, settle};
use crate::fault;
use crate::qmp::Client;
use crate::ui;

/// How long a saver may take until its first message.
const FIRST: Duration = Duration::from_secs(30);

/// How long QEMU may take to put things right in one attempt. There is another one until it has, or is gone.
const ATTEMPT: Duration = Duration::from_secs(30);

/// How long one command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// The time between two attempts.
const AGAIN: Duration = Duration::from_millis(500);

/// For how long a machine is tried whose process is not known, when its monitor cannot be reached.
const UNKNOWN: Duration = Duration::from_secs(600);

/// What became of a saver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is through, and all is well.
    Done,
    /// It has read the stream to its end; what it does now concerns no guest.
    Read,
    /// It has failed, or was killed.
    Gone,
    /// It says nothing any more.
    Silent,
}

/// Watches a saver until it is through, is gone, or has been silent for `patience`. `changed` gets
/// the plans that arrive meanwhile.
pub fn watch(
    lifeline: &mut Lifeline,
    patience: Duration,
    mut changed: impl FnMut(Plan),
) -> Outcome {
    loop {
        match lifeline.hear(Some(Instant::now() + patience)) {
            Ok(Heard::Message(Message::Done, _)) => return Outcome::Done,
            Ok(Heard::Message(Message::Read, _)) => return Outcome::Read,
            Ok(Heard::Message(Message::Plan(plan), _)) => changed(*plan),
            Ok(Heard::Message(_, _)) => {}
            Ok(Heard::Silence) => return Outcome::Silent,
            Ok(Heard::Gone) => return Outcome::Gone,
            // A saver whose last words are torn, or make no sense, is not to be relied on.
            Err(error) => {
                tracing::debug!(%error, "the lifeline is broken");
                return Outcome::Silent;
            }
        }
    }
}

/// The whole life of a guardian process, whose standard input is the lifeline.
///
/// # Errors
/// It was not started by a saver, or could not do what it is there for.
pub fn run_as_guardian() -> io::Result<()> {
    outlive_the_terminal()?;
    let saver = rustix::process::getppid()
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut lifeline = Lifeline::inherited()?;
    let first = lifeline.hear(Some(Instant::now() + FIRST))?;
    let Heard::Message(Message::Plan(mut plan), fds) = first else {
        return Err(io::Error::other("a guardian is started by 'vmferry save'"));
    };
    let Ok([channel, monitor]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(io::Error::other(
            "the channel and the monitor were not sent along",
        ));
    };
    fault::at("guardian:planned");
    // A saver that is gone already has changed nothing, which is found out below.
    let _ = lifeline.send(&Message::Ready, &[]);
    fault::at("guardian:ready");

    let outcome = watch(&mut lifeline, plan.patience, |newer| {
        fault::at("guardian:gets-a-plan");
        *plan = newer;
    });
    if matches!(outcome, Outcome::Done | Outcome::Read) {
        return Ok(());
    }
    if let (Outcome::Silent, Some(saver)) = (outcome, &saver) {
        // It may hang in a store that does not answer. If it came back, it would read from a
        // channel and speak to a monitor that are not its own any more.
        let _ = rustix::process::pidfd_send_signal(saver, Signal::KILL);
    }
    fault::at("guardian:takes-over");
    take_over(&plan, channel, monitor)
}

/// Puts everything back, however long that takes.
fn take_over(plan: &Plan, channel: OwnedFd, monitor: OwnedFd) -> io::Result<()> {
    // First of all: QEMU's monitor may be dead until this is done.
    let _ender = Ender::start(plan.ending, channel)?;
    let vm = &plan.vm;
    let mut client = Client::adopt(monitor).map(patient);
    let began = Instant::now();
    let mut said = false;
    loop {
        let trouble = match &client {
            Ok(client) => settle(client, plan, Resume::Ours, Instant::now() + ATTEMPT),
            Err(error) => Err(error.to_string()),
        };
        fault::at("guardian:settled");
        let Err(trouble) = trouble else {
            let _ = NoteFile::of(plan).map(|note| note.remove());
            ui::note(format_args!(
                "the save of '{vm}' has ended early; its guest goes on"
            ));
            return Ok(());
        };
        let is_gone = match plan.qemu {
            Some(qemu) => !qemu.is_alive(),
            None => began.elapsed() > UNKNOWN,
        };
        if is_gone {
            let _ = NoteFile::of(plan).map(|note| note.remove());
            ui::note(format_args!(
                "the save of '{vm}' has ended early, and its QEMU is gone"
            ));
            return Ok(());
        }
        if !said {
            ui::warn(format_args!(
                "the save of '{vm}' has ended early, and what it changed is not put back yet: {trouble}. Process {} goes \
                 on trying; if it is ended, 'vmferry recover --qmp unix:{}' does the same",
                std::process::id(),
                plan.socket.display()
            ));
            said = true;
        }
        std::thread::sleep(AGAIN);
        if client.as_ref().map_or(true, Client::is_closed) {
            client = Client::connect(&plan.socket, COMMAND_PATIENCE).map(patient);
        }
    }
}

fn patient(mut client: Client) -> Client {
    client.set_patience(COMMAND_PATIENCE);
    client
}

/// Nothing that is meant for the saver ends the guardian: neither Ctrl-C nor a closed terminal.
fn outlive_the_terminal() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    // Not possible for the leader of a process group, which a started process is not.
    let _ = rustix::process::setsid();
    Ok(())
}
