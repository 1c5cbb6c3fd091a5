//! `vmferry verify`: proving that a saved state is whole, and saying what cannot be proven.

mod checkpoint;
mod report;
mod stream;

use std::process::ExitCode;

use anyhow::Result;
use vmferry_store::StoreError;

use super::DAMAGED;
use crate::args::{Global, Verify};
use crate::ui;
use crate::view::named::Named;
use report::Report;

/// Runs it.
///
/// # Errors
/// There is nothing of this name, or it cannot be read. Damage is a result.
pub fn run(global: &Global, verify: &Verify) -> Result<ExitCode> {
    let report = match Named::open(global, &verify.what) {
        Ok(Named::Stream(stream)) => stream::verify(global, verify, *stream)?,
        Ok(Named::Checkpoint(checkpoint)) => checkpoint::verify(global, verify, &checkpoint),
        // What it is made of is missing or wrong: that is what was to be found out.
        Err(error) if is_damage(&error) => {
            let mut report = Report::new(verify, "checkpoint");
            report.damage(ui::chain(&error));
            report
        }
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
        ExitCode::from(DAMAGED)
    })
}

fn is_damage(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let store = cause.downcast_ref::<StoreError>();
        store.is_some_and(|error| error.is_damage() || matches!(error, StoreError::Missing { .. }))
    })
}
