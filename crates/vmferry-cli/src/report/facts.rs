//! What there is to say of a state before any of it is shown: what it is, and what is to be known about it.

use vmferry::ram::PageSource;
use vmferry_store::Manifest;

use crate::machine::shell_words;
use crate::saved::Saved;
use crate::ui;
use crate::view::container::Wrapping;
use crate::view::mode::mode_name;

/// Names and values.
pub(super) type Facts = Vec<(&'static str, String)>;

/// What a state is.
pub(super) fn of(saved: &Saved) -> Facts {
    let mut facts = Facts::new();
    let state = saved.state();
    let manifest = saved.manifest();
    if let Some(manifest) = manifest {
        facts.push(("checkpoint", manifest.name().to_string()));
    }
    if let Some(container) = saved.container() {
        facts.push(("what", Wrapping::of(container).description));
    }
    let configuration = state.configuration.as_ref();
    let machine = configuration.map(|c| c.machine.clone());
    facts.push(("machine type", machine.unwrap_or_else(|| "not said".into())));
    if let Some(configuration) = configuration {
        if !configuration.capabilities.is_empty() {
            facts.push(("capabilities", configuration.capabilities.join(", ")));
        }
    }
    let saved_as = manifest.and_then(|manifest| manifest.machine.run_state.as_deref());
    let run_state = saved_as.or_else(|| state.run_state()).unwrap_or("not said");
    facts.push(("run state", run_state.to_owned()));
    let ram = saved.blocks().total_length();
    let pages = saved.page_size();
    facts.push((
        "memory",
        format!(
            "{} in {} RAM blocks, pages of {pages}",
            ui::bytes(ram),
            saved.blocks().len()
        ),
    ));
    facts.push(("devices", format!("{} sections", state.devices.len())));
    if let Some(summary) = saved.summary() {
        facts.push((
            "stream",
            format!("{} ({} bytes)", ui::bytes(summary.bytes), summary.bytes),
        ));
        facts.push(("pages sent", pages_sent(summary)));
    }
    if let Some(manifest) = manifest {
        of_checkpoint(manifest, &mut facts);
    }
    facts
}

fn pages_sent(summary: &vmferry::load::Summary) -> String {
    let mut text = format!("{}, of them {} zero", summary.pages, summary.zero_pages);
    for (pages, what) in [
        (summary.xbzrle_pages, "as differences"),
        (summary.compressed_pages, "compressed"),
    ] {
        if pages > 0 {
            text.push_str(&format!(", {pages} {what}"));
        }
    }
    text
}

fn of_checkpoint(manifest: &Manifest, facts: &mut Facts) {
    let machine = &manifest.machine;
    facts.push(("created", manifest.created.to_string()));
    if let Some(name) = &machine.name {
        facts.push(("name", name.clone()));
    }
    if let Some(version) = &machine.qemu_version {
        facts.push(("QEMU", version.clone()));
    }
    if let Some(mode) = &manifest.save.mode {
        facts.push(("saved by", mode_name(mode)));
    }
    facts.push(("stored", ui::bytes(manifest.statistics.stored_bytes)));
    for disk in &manifest.block_devices {
        if let Some(file) = &disk.file {
            facts.push(("disk", format!("{file} (not in the checkpoint)")));
        }
    }
    if !machine.command_line.is_empty() {
        facts.push(("command line", shell_words(&machine.command_line)));
    }
}

/// What is to be known about a state, each a sentence.
pub(super) fn warnings(saved: &Saved) -> Vec<String> {
    let state = saved.state();
    let mut warnings = Vec::new();
    if let Some(manifest) = saved.manifest() {
        warnings.extend(manifest.warnings.iter().cloned());
    }
    if state.vmdesc.is_none() && !state.devices.is_empty() {
        warnings.push(
            "The stream has no description of its devices: where one ends and the next begins is a guess, and \
             their values have no names."
                .into(),
        );
    }
    if state.lacks_shared_memory() {
        warnings.push(
            "It was made with capability 'x-ignore-shared': the machine's shared memory is not in it.".into(),
        );
    }
    warnings
}
