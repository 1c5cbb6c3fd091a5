//! `vmferry list`: which checkpoints there are.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use vmferry_store::{Listed, Manifest, Store, StoreError};

use crate::args::{Global, List};
use crate::exit;
use crate::store;
use crate::ui::{self, Table};
use crate::view::mode::mode_name;

#[derive(Serialize)]
struct Listing<'a> {
    schema: u32,
    checkpoints: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    vm: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a Manifest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs it.
///
/// # Errors
/// The store cannot be read.
pub fn run(global: &Global, list: &List) -> Result<ExitCode> {
    let path = store::path(global.store.as_deref())?;
    let mut listed = match Store::open(&path) {
        Ok(store) => store.list()?,
        // Nothing has been saved yet.
        Err(StoreError::NotAStore { .. }) if !path.exists() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if let Some(vm) = &list.vm {
        listed.retain(|checkpoint| checkpoint.name.vm == *vm);
    }
    if global.json {
        ui::print_json(&Listing {
            schema: ui::SCHEMA,
            checkpoints: listed.iter().map(entry).collect(),
        })?;
    } else {
        print(&listed)?;
        if listed.is_empty() {
            ui::note(nothing(list, &path));
        }
    }
    let damaged = listed.iter().any(|checkpoint| checkpoint.manifest.is_err());
    Ok(if damaged {
        ExitCode::from(exit::DAMAGED)
    } else {
        ExitCode::SUCCESS
    })
}

fn entry(listed: &Listed) -> Entry<'_> {
    Entry {
        vm: listed.name.vm.as_str(),
        id: listed.name.id.as_str(),
        manifest: listed.manifest.as_ref().ok(),
        error: listed.manifest.as_ref().err().map(ToString::to_string),
    }
}

fn print(listed: &[Listed]) -> Result<()> {
    let headings = [
        "VM", "ID", "STATE", "MODE", "MACHINE", ">RAM", ">STORED", ">PAUSE",
    ];
    let mut table = Table::new(&headings);
    for checkpoint in listed {
        let name = &checkpoint.name;
        match &checkpoint.manifest {
            Ok(manifest) => table.row(columns(manifest)),
            Err(error) => ui::warn(format_args!("{name}: {error}")),
        }
    }
    if listed.iter().any(|checkpoint| checkpoint.manifest.is_ok()) {
        ui::print_text(&table.to_string())?;
    }
    Ok(())
}

/// Why nothing is listed: a mistyped name or folder should not look like a store without checkpoints.
fn nothing(list: &List, path: &Path) -> String {
    let of = list.vm.as_ref().map(|vm| format!(" of '{vm}'"));
    let of = of.unwrap_or_default();
    if path.exists() {
        format!("there are no checkpoints{of} in {}", path.display())
    } else {
        format!(
            "there are no checkpoints{of}: there is no store in {} yet",
            path.display()
        )
    }
}

fn columns(manifest: &Manifest) -> [String; 8] {
    let machine = &manifest.machine;
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let ram = manifest
        .ram
        .blocks
        .iter()
        .map(|block| block.used_length)
        .sum();
    let pause = manifest.save.pause_us.map(Duration::from_micros);
    [
        manifest.vm.to_string(),
        manifest.id.to_string(),
        or_unknown(&machine.run_state),
        manifest
            .save
            .mode
            .as_ref()
            .map_or_else(|| "-".into(), mode_name),
        or_unknown(&machine.machine_type),
        ui::bytes(ram),
        ui::bytes(manifest.statistics.stored_bytes),
        pause.map_or_else(|| "-".into(), ui::duration),
    ]
}
