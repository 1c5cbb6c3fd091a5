//! `vmferry recover`: puts right what a save has left whose saver and guardian are dead.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use super::save::{GREETING, no_monitor};
use crate::args::{Global, Recover};
use crate::exit;
use crate::guardian::{Recovered, note, recover};
use crate::qmp::Client;
use crate::ui;

#[derive(Serialize)]
struct Report {
    schema: u32,
    recovered: Vec<Recovered>,
}

/// Runs it.
///
/// # Errors
/// A machine could not be put right.
pub fn run(global: &Global, asked: &Recover) -> Result<ExitCode> {
    let found = note::find().context("cannot look for the notes of unfinished saves")?;
    let mut recovered = Vec::new();
    let mut failed = false;
    match &asked.qmp {
        Some(socket) => {
            let client = Client::connect(socket, GREETING).map_err(no_monitor)?;
            recovered.extend(recover(&client, socket, found)?);
        }
        None => {
            for note in found {
                let plan = &note.note.plan;
                if note.note.keeper().is_some() {
                    continue;
                }
                let (vm, socket) = (plan.vm.clone(), plan.socket.clone());
                let done = Client::connect(&socket, GREETING)
                    .map_err(no_monitor)
                    .and_then(|client| Ok(recover(&client, &socket, vec![note])?));
                match done {
                    Ok(machine) => recovered.extend(machine),
                    Err(error) => {
                        ui::error(&error.context(format!("'{vm}' could not be put right")));
                        failed = true;
                    }
                }
            }
        }
    }
    if recovered.is_empty() && !failed {
        ui::note(format_args!("no save has left anything to put right"));
    }
    for machine in &recovered {
        ui::note(format_args!("{machine}"));
    }
    if global.json {
        ui::print_json(&Report {
            schema: ui::SCHEMA,
            recovered,
        })?;
    }
    Ok(match failed {
        true => ExitCode::from(exit::COULD_NOT),
        false => ExitCode::SUCCESS,
    })
}
