//! `vmferry restore`: a checkpoint becomes a running machine.

mod arrival;
mod check;
mod destination;
mod explain;
mod prepared;
mod transfer;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use vmferry_store::{Checkpoint, CheckpointName};

use crate::args::{Global, Restore};
use crate::machine::{Recorded, shell_words};
use crate::store;
use crate::ui::{self, Signals};

use destination::Destination;
use transfer::{Outcome, Transfer};

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    vm: &'a str,
    id: &'a str,
    lazy: bool,
    /// Whether all of its memory came; it may have ended before.
    complete: bool,
    #[serde(flatten)]
    outcome: Option<&'a Outcome>,
    pid: Option<u32>,
}

/// Runs it.
///
/// # Errors
/// The checkpoint is not there or is damaged, QEMU does not take it, or has gone.
pub fn run(global: &Global, restore: &Restore) -> Result<ExitCode> {
    let store = store::open(global.store.as_deref())?;
    let checkpoint = store::open_checkpoint(&store, &restore.checkpoint)?;
    let name = checkpoint.manifest().name();
    let recorded = match (&restore.qmp, restore.command.is_empty()) {
        (None, true) => Some(recorded(&checkpoint)?),
        _ => None,
    };
    if let (Some(recorded), false) = (&recorded, restore.trust_recorded) {
        return offer(&name, recorded);
    }
    if let Some(recorded) = &recorded {
        lost(recorded);
    }
    let signals = Signals::catch().context("cannot catch signals")?;
    let destination = match (&restore.qmp, &recorded) {
        (Some(socket), _) => Destination::attach(socket)?,
        (None, Some(recorded)) => {
            Destination::start(&recorded.words, recorded.cwd.as_deref().map(AsRef::as_ref))?
        }
        (None, None) => Destination::start(&restore.command, None)?,
    };
    let transfer = Transfer {
        client: destination.client(),
        checkpoint: &checkpoint,
        restore,
        style: global.progress_style(),
        signals: &signals,
        held_back: destination.held_back(),
    };
    match transfer.run() {
        Ok(outcome) => {
            report(global, restore, &name, Some(&outcome), destination.pid())?;
            drop(checkpoint);
            destination.stay_with(&signals)
        }
        Err(failed) => {
            let pid = destination.pid();
            match destination.explain(failed) {
                None => {
                    report(global, restore, &name, None, pid)?;
                    Ok(ExitCode::SUCCESS)
                }
                Some(error) => Err(error.context(format!("{name} was not restored"))),
            }
        }
    }
}

fn recorded(checkpoint: &Checkpoint) -> Result<Recorded> {
    Recorded::of(&checkpoint.manifest().machine).with_context(|| {
        let name = checkpoint.manifest().name();
        format!(
            "{name} has recorded no command line: start QEMU yourself with '-incoming defer' and give \
             --qmp, or give the command behind '--'"
        )
    })
}

/// What was recorded is shown, and run only by whoever trusts it.
fn offer(name: &CheckpointName, recorded: &Recorded) -> Result<ExitCode> {
    if let Some(cwd) = &recorded.cwd {
        ui::note(format_args!("{name} was started in {cwd} as"));
    }
    ui::print_text(&format!("{}\n", shell_words(&recorded.words)))?;
    lost(recorded);
    bail!(
        "say where to restore to: --qmp unix:SOCKET of a QEMU that waits with '-incoming defer', \
         '-- COMMAND' to start one, or --trust-recorded to start what is shown above"
    )
}

fn lost(recorded: &Recorded) {
    for word in &recorded.lost {
        ui::warn(format_args!(
            "'{word}' refers to a descriptor that QEMU was given when it was started: it is gone"
        ));
    }
}

fn report(
    global: &Global,
    restore: &Restore,
    name: &CheckpointName,
    outcome: Option<&Outcome>,
    pid: Option<u32>,
) -> Result<()> {
    if global.json {
        return ui::print_json(&Report {
            schema: ui::SCHEMA,
            vm: name.vm.as_str(),
            id: name.id.as_str(),
            lazy: restore.lazy,
            complete: outcome.is_some(),
            outcome,
            pid,
        });
    }
    let Some(outcome) = outcome else {
        ui::note(format_args!(
            "{name} ran, and ended before it needed all of its memory"
        ));
        return Ok(());
    };
    let total = ui::duration(Duration::from_secs_f64(outcome.total_ms / 1e3));
    match outcome.running_ms {
        Some(running) => ui::note(format_args!(
            "{name} runs after {}; all of its memory was there after {total}",
            ui::duration(Duration::from_secs_f64(running / 1e3))
        )),
        None if outcome.run_state == "running" => ui::note(format_args!(
            "{name} runs; all of its memory was there after {total}"
        )),
        None => ui::note(format_args!(
            "{name} is there after {total}, and stands still ('{}'){}",
            outcome.run_state,
            match outcome.stands_still {
                Some(why) => format!(": {why}"),
                None => String::new(),
            }
        )),
    }
    Ok(())
}
