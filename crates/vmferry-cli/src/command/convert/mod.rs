//! `vmferry convert`: a saved machine in another form.

mod checkpoint;
mod file;
mod libvirt;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use vmferry::container::Container;
use vmferry::machine::MachineState;
use vmferry::ram::PageSource;
use vmferry::wire::dirty_bitmap;

use crate::args::{Convert, Form, Global};
use crate::devices_alone::has_memory;
use crate::output::{Existing, Output, What};
use crate::saved::Saved;
use crate::ui;
use crate::watch::{Watch, Watching};

/// What was made of what.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: u32,
    what: &'static str,
    /// What it was kept in.
    from: String,
    to: &'static str,
    /// A file, or a checkpoint.
    output: String,
    machine: Option<&'a str>,
    /// The run state in which a restore ends.
    run_state: Option<&'a str>,
    /// Bytes of all RAM blocks.
    ram_bytes: u64,
    /// Pages that were written, zero pages among them.
    pages: u64,
    /// Bytes of the file, holes included.
    bytes: Option<u64>,
}

/// What is shown of its progress.
const WATCHING: Watching = Watching {
    command: "convert",
    done: "converted",
};

/// Runs it.
///
/// # Errors
/// There is no such machine, it is damaged, or the output cannot be written. Nothing is left of it then.
pub fn run(global: &Global, convert: &Convert) -> Result<ExitCode> {
    check(global, convert)?;
    let saved = Saved::open_or_rescue(global, &convert.what, convert.rescue)?;
    has_memory(&saved)?;
    leave_out(&saved)?;
    let state = state(&saved);
    let total = saved.blocks().total_length();
    let watch = Watch::new(global.progress_style(), WATCHING, total)?;
    let watched = watch.over(&saved);
    let written = match convert.to {
        Form::Checkpoint => checkpoint::write(global, convert, &saved, &state, &watched),
        Form::Stream => file::stream(convert, &state, &watched),
        Form::MappedRam => file::mapped_ram(convert, &state, &watched),
        Form::Libvirt => libvirt::write(convert, &saved, &state, &watched),
    };
    // Whatever came of it, a signal is why.
    watch.interrupted()?;
    let (output, bytes) = written?;
    let pages = watch.pages();
    drop(watch);
    if piped(convert) {
        return Ok(ExitCode::SUCCESS);
    }
    let configuration = state.configuration.as_ref();
    let report = Report {
        schema: ui::SCHEMA,
        what: "conversion",
        from: saved.kept_in(),
        to: match convert.to {
            Form::Stream => "stream",
            Form::MappedRam => "mapped-ram",
            Form::Libvirt => "libvirt",
            Form::Checkpoint => "checkpoint",
        },
        output,
        machine: configuration.map(|configuration| configuration.machine.as_str()),
        run_state: state.run_state(),
        ram_bytes: saved.blocks().total_length(),
        pages,
        bytes,
    };
    if global.json {
        ui::print_json(&report)?;
    } else {
        ui::print_text(&format!("{}\n", ui::in_line(&report.output)))?;
        ui::note(format_args!(
            "from {}: {} of RAM as {}",
            report.from,
            ui::bytes(report.ram_bytes),
            match bytes {
                Some(bytes) => format!("a file of {}", ui::bytes(bytes)),
                None => "a checkpoint".to_owned(),
            }
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What no form holds is left out where the machine can do without it.
fn leave_out(saved: &Saved) -> Result<()> {
    let summary = saved.summary();
    for section in summary.iter().flat_map(|summary| &summary.other_sections) {
        if section != dirty_bitmap::IDSTR {
            bail!(
                "section '{section}' is a part of the machine that no other form holds: restore this file \
                 with QEMU as it is"
            );
        }
        ui::warn(
            "the dirty bitmaps of the machine's disks are left out: the next backup has to be a full one",
        );
    }
    Ok(())
}

fn piped(convert: &Convert) -> bool {
    convert.to == Form::Stream && convert.output.as_deref() == Some(Path::new("-"))
}

/// What can be said before a machine is read, which may take a while.
fn check(global: &Global, convert: &Convert) -> Result<()> {
    let is = |form| convert.to == form;
    if convert.xml.is_some() && !is(Form::Libvirt) {
        bail!("--xml is for --to libvirt: nothing else holds a domain's XML");
    }
    if convert.image_format.is_some() && !is(Form::Libvirt) {
        bail!("--image-format is for --to libvirt");
    }
    if is(Form::Checkpoint) {
        if convert.output.is_some() {
            bail!("a checkpoint goes to the store (--store): give it a name instead of -o");
        }
        return Ok(());
    }
    if let Some(vm) = &convert.vm {
        bail!("'{vm}' would be the name of a checkpoint: --to checkpoint makes one");
    }
    if piped(convert) {
        if global.json {
            bail!("with '-o -' the stream goes to standard output: there is no place for --json");
        }
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            bail!("standard output is a terminal: a machine's memory is not for reading");
        }
    } else if convert.output.as_deref() == Some(Path::new("-")) {
        bail!("only a stream fits into a pipe: this form is written from place to place");
    } else if let Some(path) = &convert.output {
        // Before a machine is read, which may take a while.
        Output::check(path, What::Memory, Existing::forced(convert.force))?;
    }
    Ok(())
}

/// The machine's state, as it is to be when it is restored: libvirt, and a save by `vmferry`, stop a guest only to
/// save it, and what counts is what it did before.
fn state(saved: &Saved) -> MachineState {
    let mut state = saved.state().clone();
    if let Some(Container::Libvirt(image)) = saved.container() {
        if image.was_running && state.run_state() == Some("paused") {
            state.set_run_state("running");
        }
    }
    let manifest = saved.manifest();
    if let Some(run_state) = manifest.and_then(|manifest| manifest.machine.run_state.as_deref()) {
        state.set_run_state(run_state);
    }
    state
}
