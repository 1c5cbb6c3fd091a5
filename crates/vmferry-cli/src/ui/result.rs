//! Results: tables and JSON on standard output.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, ContentArrangement, presets};
use serde::Serialize;

use super::outside::{harmless, in_line, pretty_json};

/// The version of the JSON results. Each result holds it, so that a program can tell what it reads.
pub const SCHEMA: u32 = 1;

/// A table without lines: columns that are easy to read, and to cut.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    /// A table with these headings; those that begin with `>` are aligned to the right.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(
            headings
                .iter()
                .map(|heading| heading.trim_start_matches('>')),
        );
        for (at, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, 2));
                if heading.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self(table)
    }

    /// Adds a row. A cell is one line, whatever is in it.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.add(cells.into());
    }

    /// Adds a row with as many cells as there are.
    pub fn add(&mut self, cells: Vec<String>) {
        self.0.add_row(cells.into_iter().map(in_line));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in self.0.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Prints a result. A reader that has gone away wants no more, which is no error.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_text(text: &str) -> Result<()> {
    let text = harmless(text);
    let mut out = anstream::stdout().lock();
    quiet(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints a result that is bytes, as they are; on a terminal, what is harmful in them is escaped.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    if io::stdout().is_terminal() {
        return print_text(&String::from_utf8_lossy(bytes));
    }
    let mut out = io::stdout().lock();
    quiet(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Prints a result as JSON.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_json(result: &impl Serialize) -> Result<()> {
    let mut text = pretty_json(result)?;
    text.push('\n');
    let mut out = io::stdout().lock();
    quiet(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn quiet(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write the result to standard output"),
    }
}
