//! The guardian's own part: watching the lifeline, and taking over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::lifeline::{Heard, Message};
use super::{Lifeline, Plan, settle};
use crate::qmp::Client;

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

/// Watches a saver until it is through, is gone, or has been silent for `patience`. `changed` is
/// told of plans that come meanwhile.
///
/// # Errors
/// The lifeline cannot be read.
pub fn watch(
    lifeline: &mut Lifeline,
    patience: Duration,
    mut changed: impl FnMut(Plan),
) -> io::Result<Outcome> {
    loop {
        match lifeline.hear(Some(Instant::now() + patience))? {
            Heard::Message(Message::Done, _) => return Ok(Outcome::Done),
            Heard::Message(Message::Read, _) => return Ok(Outcome::Read),
            Heard::Message(Message::Plan(plan), _) => changed(plan),
            Heard::Message(_, _) => {}
            Heard::Silence => return Ok(Outcome::Silent),
            Heard::Gone => return Ok(Outcome::Gone),
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
    let Heard::Message(Message::Plan(mut plan), fds) = lifeline.hear(None)? else {
        return Err(io::Error::other("a guardian is started by 'vmferry save'"));
    };
    let Ok([channel, monitor]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(io::Error::other(
            "the channel and the monitor did not come along",
        ));
    };
    lifeline.send(&Message::Ready, &[])?;

    let outcome = watch(&mut lifeline, plan.patience, |newer| plan = newer)?;
    if matches!(outcome, Outcome::Done | Outcome::Read) {
        return Ok(());
    }
    if let (Outcome::Silent, Some(saver)) = (outcome, &saver) {
        // It may hang in a store that does not answer. If it came back, it would read from a
        // channel and speak to a monitor that are not its own any more.
        let _ = rustix::process::pidfd_send_signal(saver, Signal::KILL);
    }
    let settled = match Client::adopt(monitor) {
        Ok(client) => settle(&client, &plan, Some(channel.as_fd())).into_text(),
        Err(error) => Some(error.to_string()),
    };
    let told = lifeline.send(
        &Message::Settled {
            trouble: settled.clone(),
        },
        &[],
    );
    if told.is_err() || outcome == Outcome::Silent {
        // Nobody else can say it any more.
        let vm = &plan.vm;
        match settled {
            None => eprintln!("vmferry: the save of '{vm}' has ended early; its guest goes on"),
            Some(trouble) => {
                eprintln!(
                    "vmferry: the save of '{vm}' has ended early; see to its guest: {trouble}"
                );
            }
        }
    }
    Ok(())
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
