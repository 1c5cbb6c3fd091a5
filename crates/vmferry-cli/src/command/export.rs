//! `vmferry export`: a saved machine's memory for other tools.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use vmferry::ram::PageSource;
use vmferry::ram::layout::{Kind, Layout, LayoutError};

use crate::args::{Export, Format, Global};
use crate::devices_alone::has_memory;
use crate::export::canvas::Canvas;
use crate::export::cpu::Cpu;
use crate::export::known::known;
use crate::export::pour::pour;
use crate::export::{CANNOT_WRITE, Plan, blocks, elf, lime, raw, vmcoreinfo};
use crate::output::{Existing, Output, What, cannot_write};
use crate::saved::Saved;
use crate::ui::{self, Table};
use crate::watch::{Watch, Watching};

/// What was written, and what had to be believed for it.
#[derive(Debug, Default, Serialize)]
struct Report {
    schema: u32,
    what: &'static str,
    format: &'static str,
    output: String,
    machine: Option<String>,
    /// Of all that was written; holes count.
    bytes: u64,
    /// Memory that was not zero.
    data_bytes: u64,
    /// In the order of their addresses; of blocks, in the order of the stream.
    segments: Vec<Segment>,
    /// Processors whose registers were written.
    cpus: usize,
    /// Whether the guest's VMCOREINFO note was written.
    vmcoreinfo: bool,
    /// RAM blocks that were not written.
    left_out: Vec<String>,
    assumptions: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Segment {
    /// None in a folder of blocks.
    address: Option<u64>,
    bytes: u64,
    block: String,
    /// Where in the block it begins.
    offset: u64,
    kind: &'static str,
    file: Option<String>,
}

/// What is shown of its progress.
const WATCHING: Watching = Watching {
    command: "export",
    done: "exported",
};

/// Files and what they will hold; a single file has no name of its own.
type Parts = Vec<(String, Plan)>;

/// Runs it.
///
/// # Errors
/// There is no such machine, its memory is damaged or cannot be laid out, or the output cannot be written.
/// Nothing is left of it then.
pub fn run(global: &Global, export: &Export) -> Result<ExitCode> {
    let piped = export.output == Path::new("-");
    let what = match export.format {
        Format::Blocks => What::Folder,
        _ => What::Memory,
    };
    let existing = Existing::forced(export.force);
    // Before a machine is read, which may take a while.
    if piped {
        check_pipe(global, export)?;
    } else {
        Output::check(&export.output, what, existing)?;
    }
    let saved = Saved::open_or_rescue(global, &export.what, export.rescue)?;
    has_memory(&saved)?;
    let mut report = Report {
        schema: ui::SCHEMA,
        what: "export",
        output: export.output.display().to_string(),
        machine: saved
            .state()
            .configuration
            .as_ref()
            .map(|c| c.machine.clone()),
        ..Report::default()
    };
    let parts = plan(&saved, export, &mut report)?;
    report.bytes = parts.iter().map(|(_, plan)| plan.len).sum();
    let extents = parts.iter().flat_map(|(_, plan)| &plan.extents);
    let total = extents.map(|extent| extent.len).sum();
    for assumption in &report.assumptions {
        ui::note(assumption);
    }
    // Said as a warning already.
    report.assumptions.extend(saved.damage());
    let watch = Watch::new(global.progress_style(), WATCHING, total)?;
    let watched = watch.over(&saved);
    // What is read names its file itself.
    let named = |error: anyhow::Error| match error.to_string() == CANNOT_WRITE {
        true => error.context(cannot_write(&export.output)),
        false => error,
    };
    if piped {
        let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        for (_, plan) in &parts {
            let poured = pour(plan, &watched, &mut out);
            watch.interrupted()?;
            poured.map_err(named)?;
        }
    } else {
        // Signals are caught now, so nothing of it can stay behind.
        let output = Output::begin(&export.output, what, existing)?;
        let mut files = Vec::new();
        for (name, plan) in parts {
            files.push((output.file(&name)?, plan));
        }
        let canvas = Canvas::new(files, saved.blocks().len(), saved.page_size());
        let filled = canvas.and_then(|canvas| canvas.fill(&watched));
        watch.interrupted()?;
        filled.map_err(named)?;
        output.publish()?;
    }
    report.data_bytes = watch.data_bytes();
    drop(watch);
    if global.json {
        ui::print_json(&report)?;
    } else if !piped {
        ui::print_text(&report.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it can go into a pipe.
fn check_pipe(global: &Global, export: &Export) -> Result<()> {
    if export.format == Format::Blocks {
        bail!("several files do not fit into a pipe: --format blocks needs a folder for -o");
    }
    if global.json {
        bail!("with '-o -' the memory goes to standard output: there is no place for --json");
    }
    if std::io::stdout().is_terminal() {
        bail!("standard output is a terminal: a machine's memory is not for reading");
    }
    Ok(())
}

fn plan(saved: &Saved, export: &Export, report: &mut Report) -> Result<Parts> {
    let state = saved.state();
    if state.lacks_shared_memory() {
        report.assumptions.push(
            "the machine was saved with capability 'x-ignore-shared': memory that it shared is not in its state, \
             and is written as zeros"
                .into(),
        );
    }
    if export.format == Format::Blocks {
        report.format = "blocks";
        let plans = blocks::plans(saved.blocks());
        for ((file, plan), (_, block)) in plans.iter().zip(saved.blocks().iter()) {
            report.segments.push(Segment {
                address: None,
                bytes: plan.len,
                block: block.idstr.clone(),
                offset: 0,
                kind: "block",
                file: Some(file.clone()),
            });
        }
        return Ok(plans);
    }
    let known = known(state, saved.blocks(), export);
    let layout = Layout::new(saved.blocks(), saved.page_size(), &known).map_err(advised)?;
    report
        .assumptions
        .extend(layout.assumptions.iter().cloned());
    let plan = match export.format {
        Format::Lime => {
            report.format = "lime";
            lime::plan(&layout)
        }
        Format::Elf => {
            report.format = "elf";
            let processor = elf::processor(known.machine.as_deref())?;
            let notes = notes(saved, &layout, report);
            elf::plan(&layout, processor, &notes)?
        }
        Format::Raw | Format::Blocks => {
            report.format = "raw";
            raw::plan(&layout)
        }
    };
    describe(saved, &layout, &plan, report);
    Ok(vec![(String::new(), plan)])
}

/// What there is to say of the processors; what is missing is told, and no reason to write nothing.
fn notes(saved: &Saved, layout: &Layout, report: &mut Report) -> Vec<u8> {
    let mut notes = Vec::new();
    match Cpu::all(saved.state()) {
        Ok(cpus) => {
            report.cpus = cpus.len();
            cpus.iter().for_each(|cpu| cpu.put_prstatus(&mut notes));
            cpus.iter().for_each(|cpu| cpu.put_qemu(&mut notes));
        }
        Err(error) => report
            .assumptions
            .push(format!("no registers are written: {}", ui::chain(&error))),
    }
    match vmcoreinfo::find(saved.state(), saved, layout) {
        Ok(Some(note)) => {
            report.vmcoreinfo = true;
            notes.extend(note);
        }
        Ok(None) => {}
        Err(error) => report.assumptions.push(format!(
            "the guest's VMCOREINFO is not written: {}",
            ui::chain(&error)
        )),
    }
    notes
}

fn describe(saved: &Saved, layout: &Layout, plan: &Plan, report: &mut Report) {
    let name = |block| {
        saved
            .blocks()
            .get(block)
            .map_or("", |block| &block.idstr)
            .to_owned()
    };
    let written = |segment: &&vmferry::ram::layout::Segment| {
        let extents = plan.extents.iter();
        extents
            .clone()
            .any(|e| e.block == segment.block && e.offset == segment.offset)
    };
    for segment in layout.segments.iter().filter(written) {
        report.segments.push(Segment {
            address: Some(segment.address),
            bytes: segment.len,
            block: name(segment.block),
            offset: segment.offset,
            kind: match segment.kind {
                Kind::Ram => "ram",
                Kind::Device => "device",
                Kind::Firmware => "firmware",
            },
            file: None,
        });
    }
    for (index, block) in saved.blocks().iter() {
        if !plan.extents.iter().any(|extent| extent.block == index) && block.used_length > 0 {
            report.left_out.push(block.idstr.clone());
        }
    }
}

/// An error with the option that helps.
fn advised(error: LayoutError) -> anyhow::Error {
    let help = match &error {
        LayoutError::UnknownSplit { .. } => "; --below-4g SIZE says it",
        LayoutError::WhichMainRam { .. } | LayoutError::NoMainRam(_) => {
            "; --ram BLOCK,BLOCK says it"
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}{help}")
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = if self.format == "blocks" {
            "FILE"
        } else {
            ">ADDRESS"
        };
        let mut table = Table::new(&[first, ">SIZE", "RAM BLOCK", ">OFFSET", "KIND"]);
        for segment in &self.segments {
            let address = segment.address.map(|address| format!("{address:#x}"));
            table.row([
                address.or_else(|| segment.file.clone()).unwrap_or_default(),
                ui::bytes(segment.bytes),
                segment.block.clone(),
                format!("{:#x}", segment.offset),
                segment.kind.to_owned(),
            ]);
        }
        write!(f, "{table}")?;
        if self.format == "elf" {
            let note = if self.vmcoreinfo {
                ", and VMCOREINFO"
            } else {
                ""
            };
            let plural = if self.cpus == 1 { "" } else { "s" };
            writeln!(f, "registers of {} vCPU{plural}{note}", self.cpus)?;
        }
        writeln!(
            f,
            "{}: {}, of which {} are not zero",
            ui::in_line(&self.output),
            ui::bytes(self.bytes),
            ui::bytes(self.data_bytes)
        )
    }
}
