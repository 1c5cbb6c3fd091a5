//! `vmferry report`: a page that shows all that is in a saved state.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use vmferry::ram::PageSource;

use super::map::{Block, blocks, look, shown};
use crate::args::{self, Global};
use crate::output::{Existing, Output, What};
use crate::report::Report;
use crate::saved::Saved;
use crate::ui;

/// What there is to say of a page.
#[derive(Debug, Serialize)]
struct Written<'a> {
    schema: u32,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a str>,
    output: String,
    devices: usize,
    /// Lines of the tree of their state.
    values: u64,
    page_size: u64,
    blocks: Vec<Block<'a>>,
    warnings: &'a [String],
    assumptions: &'a [String],
}

/// Runs it.
///
/// # Errors
/// There is no such state, it cannot be read, or the page cannot be written.
pub fn run(global: &Global, options: &args::Report) -> Result<ExitCode> {
    let existing = Existing::forced(options.force);
    // Before the work, so that nothing is done in vain.
    Output::check(&options.output, What::Account, existing)?;
    let saved = Saved::open_or_rescue(global, &options.what, options.rescue)?;
    let against = match &options.against {
        Some(what) => Some(Saved::open_or_rescue(global, what, options.rescue)?),
        None => None,
    };
    let shown = shown(&saved, None)?;
    let map = look(
        global,
        &saved,
        against.as_ref(),
        shown.bands,
        WIDTH,
        "report",
    )?;
    let report = Report::of(&options.what, &saved, &map, shown.layout, shown.assumptions)?;
    let page = report.page()?;
    Output::begin(&options.output, What::Account, existing)?.publish_with(page.as_bytes())?;
    let path = options.output.display().to_string();
    if global.json {
        ui::print_json(&Written {
            schema: ui::SCHEMA,
            what: &options.what,
            against: options.against.as_deref(),
            output: path,
            devices: saved.state().devices.len(),
            values: report.values(),
            page_size: map.page_bytes(),
            blocks: blocks(saved.blocks(), &map),
            warnings: report.warnings(),
            assumptions: report.assumptions(),
        })?;
    } else {
        for warning in report.warnings() {
            ui::warn(warning);
        }
        ui::note(format_args!("wrote {path}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The width of the picture, in pixels: that of a page on an ordinary screen.
const WIDTH: u64 = 1200;
