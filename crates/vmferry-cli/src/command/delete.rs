//! `vmferry delete`: checkpoints that are no longer needed.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::args::{Delete, Global};
use crate::store;
use crate::ui;

#[derive(Serialize)]
struct Report {
    schema: u32,
    deleted: Vec<Deleted>,
}

#[derive(Serialize)]
struct Deleted {
    vm: String,
    id: String,
    objects: usize,
}

/// Runs it.
///
/// # Errors
/// One of them is not there, or somebody is reading it. Nothing is deleted if a name is not clear.
pub fn run(global: &Global, delete: &Delete) -> Result<ExitCode> {
    let store = store::open(global.store.as_deref())?;
    // All names are made out first: "latest" must not move while we delete.
    let mut names = Vec::new();
    for reference in &delete.checkpoints {
        let name = store::resolve(&store, reference)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut report = Report {
        schema: ui::SCHEMA,
        deleted: Vec::new(),
    };
    for name in &names {
        let deleted = store
            .delete(name)
            .with_context(|| format!("cannot delete {name}"))?;
        for other in &deleted.unreadable {
            ui::warn(format_args!(
                "{other} cannot be read, so it is not known what it needs: no packs were deleted"
            ));
        }
        if !global.json {
            ui::note(format_args!("deleted {name}"));
        }
        report.deleted.push(Deleted {
            vm: name.vm.to_string(),
            id: name.id.to_string(),
            objects: deleted.objects.len(),
        });
    }
    if global.json {
        ui::print_json(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}
