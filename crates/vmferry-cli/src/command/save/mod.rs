//! `vmferry save`: a running machine becomes a checkpoint.
//!
//! ```text
//! QEMU ──► channel ──► intake (a thread: reads the stream into the store)
//!   ▲                     │ done, or failed
//!   │ monitor             ▼
//!   └──────────────── attempt (watches intake, events, signals, the clock) ──► guardian
//! ```
//!
//! Whatever goes wrong, the guest comes first: it is settled before anything else is done, by
//! ourselves if we can, by the guardian if we cannot.

mod attempt;
mod channel;
mod exec;
mod failure;
mod intake;
mod monitor;
mod pace;
mod pause;
mod refusal;
mod wait;

pub(super) use monitor::GREETING;
pub(super) use refusal::{missing_rights, no_monitor};

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use vmferry_store::Manifest;
use vmferry_store::manifest::BlockDevice;

use crate::args::{Global, Save};
use crate::machine::is_writable;
use crate::store;
use crate::ui;

/// Runs it.
///
/// # Errors
/// The machine could not be saved. It goes on as before, and the store is as it was.
pub fn run(global: &Global, save: &Save) -> Result<ExitCode> {
    match &save.from.qmp {
        Some(socket) => {
            let manifest = monitor::run(global, save, socket)?;
            report(global, &manifest)?;
            Ok(ExitCode::SUCCESS)
        }
        None if save.guarded => exec::run_as_saver(global, save),
        None => exec::run_as_guardian(global, save),
    }
}

/// A checkpoint fits only the disk contents of its moment: whoever restores it on a disk that went on
/// has a guest whose memory and disk disagree.
fn disk_warnings(devices: &[BlockDevice]) -> Vec<String> {
    let writable: Vec<_> = devices
        .iter()
        .filter(|device| is_writable(device))
        .map(|device| {
            let file = device.file.as_deref().or(device.node.as_deref());
            format!("'{}'", file.unwrap_or(&device.device))
        })
        .collect();
    if writable.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "disks are not saved: this checkpoint fits only the present contents of {}. Keep a copy of \
         that moment, or do not let the guest write there before you restore",
        writable.join(", ")
    )]
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    vm: &'a str,
    id: &'a str,
    manifest: &'a Manifest,
}

fn report(global: &Global, manifest: &Manifest) -> Result<()> {
    report_saved(global, manifest)?;
    if let Ok(store) = store::open(global.store.as_deref()) {
        store::warn_if_another_is_latest(&store, &manifest.name());
    }
    Ok(())
}

fn report_saved(global: &Global, manifest: &Manifest) -> Result<()> {
    if global.json {
        return ui::print_json(&Report {
            schema: ui::SCHEMA,
            vm: manifest.vm.as_str(),
            id: manifest.id.as_str(),
            manifest,
        });
    }
    ui::print_text(&format!("{}\n", manifest.name()))?;
    let ram: u64 = manifest
        .ram
        .blocks
        .iter()
        .map(|block| block.used_length)
        .sum();
    let duration = |us: Option<u64>| us.map(Duration::from_micros).map(ui::duration);
    let took = duration(manifest.save.duration_us).unwrap_or_default();
    let stored = ui::bytes(manifest.statistics.stored_bytes);
    let paused = duration(manifest.save.pause_us)
        .map(|pause| format!("; the guest stood still for {pause}"));
    ui::note(format_args!(
        "saved {} of RAM in {took} as {stored}{}",
        ui::bytes(ram),
        paused.unwrap_or_default()
    ));
    for warning in &manifest.warnings {
        ui::warn(warning);
    }
    Ok(())
}
