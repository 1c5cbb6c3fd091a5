//! `vmferry inspect`: what is in a saved state.
//!
//! One pass, also over a pipe. What is damaged is described as far as it goes.

mod block;
mod contents;
mod device;
mod findings;
mod text;

use std::process::ExitCode;

use anyhow::Result;
use vmferry::load::Mode;

use crate::args::{Global, Inspect};
use crate::damage::is_damage;
use crate::exit;
use crate::place::{self, SEVERAL_CHANNELS};
use crate::ui::{self, PassProgress};
use contents::Contents;

/// Runs it.
///
/// # Errors
/// There is nothing of this name, or it cannot be read. A stream that is wrong is described as far
/// as it goes.
pub fn run(global: &Global, inspect: &Inspect) -> Result<ExitCode> {
    // What is wrong is described, too.
    let opened = place::open(
        global.store.as_deref(),
        &inspect.what,
        "a stream",
        Mode::Rescue,
    );
    let target = match opened {
        Err(error) if is_damage(&error) => {
            ui::error(&error);
            return Ok(ExitCode::from(exit::DAMAGED));
        }
        target => target?,
    };
    let mut progress = PassProgress::new(global.progress_style(), "inspect", target.bytes());
    let contents = Contents::read(target, &mut |offset| progress.show(offset));
    drop(progress);
    let contents = contents?;
    match (print(global, inspect, &contents), &contents.trouble) {
        // That something is not there is the damage's doing.
        (Err(error), Some(_)) => ui::error(&error),
        (result, _) => result?,
    }
    if contents.may_lack_channels {
        ui::warn(SEVERAL_CHANNELS);
    }
    match &contents.trouble {
        None => Ok(ExitCode::SUCCESS),
        Some(trouble) => {
            ui::warn(trouble);
            Ok(ExitCode::from(trouble.exit_status()))
        }
    }
}

fn print(global: &Global, inspect: &Inspect, contents: &Contents) -> Result<()> {
    if let Some(name) = &inspect.raw {
        device::print_raw(contents, name)
    } else if let Some(name) = &inspect.device {
        device::print(global, contents, name)
    } else if inspect.devices {
        device::print_list(global, contents)
    } else if global.json {
        ui::print_json(&contents.findings())
    } else {
        ui::print_text(&contents.findings().to_string())
    }
}
