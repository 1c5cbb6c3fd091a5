//! Saving from standard input, as the command of `migrate "exec:…"`.
//!
//! QEMU waits for its command to end, and stops the guest meanwhile. So what QEMU has started is the
//! guardian: it starts the saver, drains the stream if the saver fails, and ends as soon as the stream
//! has been read. The saver then makes the checkpoint durable by itself.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crossbeam_channel::{select, tick};
use rustix::process::{PidfdFlags, Signal};
use vmferry::channel::Fd;
use vmferry::load::Summary;
use vmferry_store::manifest::{Machine, SaveMode, SaveRecord};
use vmferry_store::{Details, SaveOptions};

use super::intake::Intake;
use super::report;
use crate::args::{Global, Save};
use crate::exit;
use crate::guardian::{BEAT, Heard, Lifeline, Message, Outcome, drain, spawn, watch};
use crate::machine;
use crate::store;
use crate::ui::{self, Interrupted, Signals};

/// How much longer than the saver the guardian waits before it takes it for dead.
const GRACE: Duration = Duration::from_secs(2);

/// What QEMU starts: guards the saver, and ends when the guest needs nobody any more.
pub(super) fn run_as_guardian(global: &Global, save: &Save) -> Result<ExitCode> {
    let channel = std::io::stdin().as_fd().try_clone_to_owned()?;
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        bail!(
            "standard input is a terminal: --stdin is for QEMU's 'migrate \"exec:vmferry save … --stdin\"'"
        );
    }
    // The guest of a background snapshot would stop for ever if its stream were dropped, so this process must
    // not end before it. A signal is for the saver.
    let signals = Signals::catch().context("cannot catch signals")?;
    let outcome = guard(save, &channel, signals);
    match outcome {
        Ok(Outcome::Read | Outcome::Done) => Ok(ExitCode::SUCCESS),
        Ok(Outcome::Gone | Outcome::Silent) | Err(_) => {
            drain(&channel).context("the stream could not be drained")?;
            outcome?;
            if !global.json {
                ui::note(format_args!(
                    "nothing was saved of '{}'; its guest goes on",
                    save.vm
                ));
            }
            Ok(ExitCode::from(exit::COULD_NOT))
        }
    }
}

fn guard(save: &Save, channel: &OwnedFd, signals: Signals) -> Result<Outcome> {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    arguments.push("--guarded".into());
    let arguments: Vec<_> = arguments.iter().map(OsString::as_os_str).collect();
    let (saver, mut lifeline) = spawn(&arguments).context("cannot start the saver")?;
    let pid = rustix::process::Pid::from_child(&saver);
    let saver = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    pass_on(signals, saver.try_clone()?)?;
    lifeline.send(&Message::Channel, &[channel.as_fd()])?;
    let outcome = watch(&mut lifeline, save.stall_timeout() + GRACE, |_| {});
    if outcome == Outcome::Silent {
        let _ = rustix::process::pidfd_send_signal(&saver, Signal::KILL);
        ui::warn(format_args!(
            "the store has taken nothing for {:?} (--stall-timeout): is its disk hanging?",
            save.stall_timeout()
        ));
    }
    Ok(outcome)
}

/// Sends signals on to the saver, which knows what to do about them.
fn pass_on(signals: Signals, saver: OwnedFd) -> std::io::Result<()> {
    let passing = move || {
        while let Ok(Interrupted(signal)) = signals.receiver().recv() {
            if let Some(signal) = Signal::from_named_raw(signal) {
                // One that is gone does not need it.
                let _ = rustix::process::pidfd_send_signal(&saver, signal);
            }
        }
    };
    // Lives as long as the process: there is no end to signals.
    let thread = std::thread::Builder::new().name("signals on".into());
    thread.spawn(passing).map(drop)
}

/// What the guardian starts: reads the stream into the store.
pub(super) fn run_as_saver(global: &Global, save: &Save) -> Result<ExitCode> {
    let mut lifeline = Lifeline::inherited().context("--guarded is not for people")?;
    let Heard::Message(Message::Channel, fds) = lifeline.hear(None)? else {
        bail!("the guardian sent no channel");
    };
    let channel = fds
        .into_iter()
        .next()
        .context("the guardian sent no channel")?;
    // Looked for while QEMU is still there to be found.
    let qemu = machine::qemu_above().unwrap_or_default();
    let signals = Signals::catch()?;
    let store = store::open_or_create(global.store.as_deref())?;
    let began = Instant::now();
    let writer = store.save(save.vm.clone(), &SaveOptions::default())?;
    let intake = Intake::start(Fd::new(channel), writer)?;
    let beat = tick(BEAT);
    let taken = loop {
        select! {
            recv(intake.done()) -> taken => break taken?,
            recv(signals.receiver()) -> signal => return Err(signal.unwrap_or(Interrupted(2)).into()),
            recv(beat) -> _ => {
                let stalled = intake.progress().stalled(Instant::now());
                if stalled.is_none_or(|stalled| stalled <= save.stall_timeout()) {
                    lifeline.beat();
                }
            }
        }
    };
    let summary = taken.result.context("the stream could not be saved")?;
    // From here on QEMU goes on, and with it the process that started us.
    let _ = lifeline.send(&Message::Read, &[]);
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let architecture = qemu.architecture().map(str::to_owned);
    let details = Details {
        save: SaveRecord {
            mode: mode(&summary, taken.run_state.as_deref()),
            tool: Some(format!("vmferry {}", env!("CARGO_PKG_VERSION"))),
            duration_us: u64::try_from(began.elapsed().as_micros()).ok(),
            ..SaveRecord::default()
        },
        machine: Machine {
            endianness: architecture.as_deref().and_then(machine::endianness),
            architecture,
            run_state: taken.run_state,
            exe: qemu.exe.map(text),
            cwd: qemu.cwd.map(text),
            command_line: qemu.command_line,
            ..Machine::default()
        },
        stream_bytes: Some(summary.bytes),
        warnings: vec![
            "saved from a stream alone: disks are not saved, and it is not known which ones the \
             machine has; the checkpoint fits only their contents of that moment"
                .to_owned(),
        ],
        ..Details::default()
    };
    let manifest = taken.writer.publish(details)?;
    report(global, &manifest)?;
    Ok(ExitCode::SUCCESS)
}

/// How the machine was saved, as far as its stream shows.
fn mode(summary: &Summary, run_state: Option<&str>) -> Option<SaveMode> {
    match (summary.ram_ended, run_state) {
        (false, _) => Some(SaveMode::Snapshot),
        (true, Some("running")) => Some(SaveMode::Precopy),
        (true, Some(_)) => Some(SaveMode::Stop),
        (true, None) => None,
    }
}
