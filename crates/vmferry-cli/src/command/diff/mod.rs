//! `vmferry diff`: what changed between two saved states.

mod change;
mod devices;
mod memory;
mod piece;
mod report;
mod sides;
mod text;

use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};

use crate::args::{Diff, Global};
use crate::exit;
use crate::saved::Saved;
use crate::ui;
use change::List;
use report::Report;

/// Runs it.
///
/// # Errors
/// One of the two is not there, is damaged, or cannot be read.
pub fn run(global: &Global, diff: &Diff) -> Result<ExitCode> {
    let open = |what: &str| {
        let saved = Saved::open_or_rescue(global, what, diff.rescue);
        saved.with_context(|| format!("cannot compare with {what}"))
    };
    if diff.old == "-" && diff.new == "-" {
        anyhow::bail!("only one of the two can come on standard input");
    }
    let (old, new) = if diff.rescue {
        // What is assumed of one is not said between what is assumed of the other.
        (open(&diff.old)?, open(&diff.new)?)
    } else {
        // Each takes a pass over a file.
        let (old, new) = thread::scope(|scope| {
            let old = scope.spawn(|| open(&diff.old));
            let new = open(&diff.new);
            match old.join() {
                Ok(old) => (old, new),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        (old?, new?)
    };
    let devices = devices::compare(old.state(), new.state())?;
    let memory = if diff.no_memory {
        None
    } else {
        let list = if diff.pages {
            List::Ranges
        } else {
            List::Counts
        };
        Some(memory::compare(global, &old, &new, list)?)
    };
    let report = Report::new(diff, &old, &new, devices, memory);
    if global.json {
        ui::print_json(&report)?;
    } else {
        ui::print_text(&report.to_string())?;
    }
    Ok(if report.same {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::DIFFERENT)
    })
}
