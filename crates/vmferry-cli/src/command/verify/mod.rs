//! `vmferry verify`: proving that a saved state is whole, and saying what cannot be proven.

mod checkpoint;
mod report;
mod stream;

use std::process::ExitCode;

use anyhow::Result;
use vmferry::load::Mode;

use crate::args::{Global, Verify};
use crate::damage::{is_damage, is_no_machine, is_of_store};
use crate::exit;
use crate::place::{self, Target};
use crate::ui;
use report::Report;

/// Runs it.
///
/// # Errors
/// There is nothing of this name, or it cannot be read. Damage is a result.
pub fn run(global: &Global, verify: &Verify) -> Result<ExitCode> {
    let report = match look(global, verify) {
        Ok(report) => report,
        // That is what was to be found out, whichever layer has found it.
        Err(error) if is_damage(&error) => {
            let what = match is_of_store(&error) {
                true => "checkpoint",
                false => "stream",
            };
            let mut report = Report::new(verify, what);
            report.damage(ui::chain(&error));
            report
        }
        Err(error) if is_no_machine(&error) => Report::no_machine(verify, ui::chain(&error)),
        Err(error) => return Err(error),
    };
    if global.json {
        ui::print_json(&report)?;
    } else {
        ui::print_text(&report.to_string())?;
    }
    Ok(if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::DAMAGED)
    })
}

fn look<'a>(global: &Global, verify: &'a Verify) -> Result<Report<'a>> {
    // All damages are listed, not only the first one.
    let store = global.store.as_deref();
    match place::open(store, &verify.what, "a stream", Mode::Rescue)? {
        Target::Stream(stream) => stream::verify(global, verify, *stream),
        Target::Checkpoint(checkpoint) => Ok(checkpoint::verify(global, verify, &checkpoint)),
    }
}
