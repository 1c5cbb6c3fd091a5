//! Checkpoints made of files, and of other checkpoints.

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use vmferry::container::Container;
use vmferry::load::Visitor;
use vmferry::machine::{MachineState, Phase};
use vmferry::ram::PageSource;
use vmferry_store::manifest::{Machine, SaveRecord};
use vmferry_store::{Details, SaveOptions, VmName, Writer};

use super::Convert;
use super::file::Written;
use super::libvirt::domain_name;
use crate::args::Global;
use crate::saved::Saved;
use crate::store;
use crate::watch::Watched;

pub(super) fn write(
    global: &Global,
    convert: &Convert,
    saved: &Saved,
    state: &MachineState,
    source: &Watched<'_, Saved>,
) -> Result<Written> {
    if state.lacks_shared_memory() {
        bail!(
            "the machine was saved with capability 'x-ignore-shared': its shared memory is not there, so it would \
             make no whole checkpoint"
        );
    }
    let vm = name(convert, saved)?;
    let began = Instant::now();
    let store = store::open_or_create(global.store.as_deref())?;
    let mut writer = store.save(vm, &SaveOptions::default())?;
    fill(&mut writer, state, source)?;
    source.watch().interrupted()?;
    let mut details = details(saved);
    details.machine.run_state = state.run_state().map(str::to_owned);
    details.save.duration_us = u64::try_from(began.elapsed().as_micros()).ok();
    details.warnings.extend(saved.damage());
    details.stream_bytes = saved.summary().map(|summary| summary.bytes);
    let manifest = writer.publish(details)?;
    store::warn_if_another_is_latest(&store, &manifest.name());
    Ok((manifest.name().to_string(), None))
}

/// Shows the machine to the store, as its stream would have.
fn fill(writer: &mut Writer, state: &MachineState, source: &Watched<'_, Saved>) -> Result<()> {
    if let Some(configuration) = &state.configuration {
        // A checkpoint's pages are in records of a stream, wherever they came from.
        writer.configuration(&configuration.clone().without_mapped_ram())?;
    }
    writer.ram_blocks(source.blocks(), source.page_size())?;
    for device in state.devices_of(Phase::Early) {
        writer.device(&device.section())?;
    }
    let mut put = Ok(());
    source.pages(&|_, _| true, &mut |block, page, content| {
        put = writer.put(block, page, content);
        match put {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    put?;
    for device in state.devices_of(Phase::Device) {
        writer.device(&device.section())?;
    }
    if let Some(json) = &state.vmdesc {
        writer.vmdesc(json)?;
    }
    Ok(())
}

fn name(convert: &Convert, saved: &Saved) -> Result<VmName> {
    if let Some(vm) = &convert.vm {
        return Ok(vm.clone());
    }
    if let Some(Container::Libvirt(image)) = saved.container() {
        let domain = domain_name(&image.xml)?;
        return domain.parse().with_context(|| {
            format!(
                "the domain's name is no name for a checkpoint: say one behind '{}'",
                convert.what
            )
        });
    }
    match saved.manifest() {
        Some(manifest) => Ok(manifest.vm.clone()),
        None => bail!(
            "which name is the checkpoint to have? Say it behind '{}'",
            convert.what
        ),
    }
}

/// What there is to remember besides.
fn details(saved: &Saved) -> Details {
    if let Some(manifest) = saved.manifest() {
        return Details {
            created: Some(manifest.created),
            machine: manifest.machine.clone(),
            block_devices: manifest.block_devices.clone(),
            save: manifest.save.clone(),
            warnings: manifest.warnings.clone(),
            labels: manifest.labels.clone(),
            ..Details::default()
        };
    }
    let mut details = Details {
        save: SaveRecord {
            tool: Some(format!("vmferry {}", env!("CARGO_PKG_VERSION"))),
            ..SaveRecord::default()
        },
        machine: Machine::default(),
        warnings: vec![
            "made from a file: the disks that go with it are those of the moment when the file was written"
                .to_owned(),
        ],
        ..Details::default()
    };
    match saved.container() {
        Some(Container::Qcow2(snapshot)) => {
            details.created = jiff::Timestamp::try_from(snapshot.created).ok();
            let label = ("snapshot".to_owned(), snapshot.name.clone());
            details.labels.extend([label]);
        }
        Some(Container::Libvirt(image)) => {
            details.machine.name = domain_name(&image.xml).ok();
        }
        _ => {}
    }
    details
}
