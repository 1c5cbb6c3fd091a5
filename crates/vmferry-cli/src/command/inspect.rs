//! `vmferry inspect`: what is in a saved stream or in a checkpoint.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use vmferry::channel::Fd;
use vmferry::error::Error;
use vmferry::load::{
    Configuration, DeviceSection, LoadError, Options, Phase, Split, Visitor, VmDescRule, load,
};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks, is_zero};
use vmferry::stream::Reader;
use vmferry::wire::{globalstate, header};
use vmferry_store::{Checkpoint, CheckpointRef, Manifest};

use super::{DAMAGED, SCHEMA, open_checkpoint, open_store};
use crate::args::{Global, Inspect};
use crate::ui::{self, Table};

/// What there is to say, of a stream or of a checkpoint.
#[derive(Debug, Default, Serialize)]
struct Findings {
    schema: u32,
    what: &'static str,
    machine: Option<String>,
    capabilities: Vec<String>,
    run_state: Option<String>,
    page_size: u64,
    blocks: Vec<Block>,
    sections: Vec<Section>,
    vmdesc_bytes: Option<u64>,
    stream_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Manifest>,
    /// Where a stream is wrong.
    error: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Block {
    idstr: String,
    used_length: u64,
    /// Pages by their content; a page that came again counts again.
    pages: u64,
    zero_pages: u64,
    data_pages: u64,
}

#[derive(Debug, Serialize)]
struct Section {
    idstr: String,
    instance_id: u32,
    version_id: u32,
    section_id: u32,
    offset: u64,
    bytes: u64,
    early: bool,
    /// Whether its end is a guess, because the stream has no description of it.
    guessed: bool,
}

/// Runs it.
///
/// # Errors
/// There is nothing of this name, or it cannot be read. A stream that is wrong is described as far
/// as it goes.
pub fn run(global: &Global, inspect: &Inspect) -> Result<ExitCode> {
    let what = &inspect.what;
    let findings = if what == "-" {
        stream(Fd::new(std::io::stdin().as_fd().try_clone_to_owned()?))?
    } else if what.contains('/') || Path::new(what).exists() {
        let file = File::open(what).with_context(|| format!("cannot open {what}"))?;
        if file.metadata()?.is_dir() {
            bail!("{what} is a directory; a file with a stream, or VM[@ID], is expected");
        }
        if let Some(tool) = compression(&file) {
            bail!("{what} is compressed: try '{tool} -dc {what} | vmferry inspect -'");
        }
        stream(Fd::new(file)).with_context(|| format!("cannot look into {what}"))?
    } else {
        let reference: CheckpointRef = what
            .parse()
            .with_context(|| format!("'{what}' is neither a file nor the name of a checkpoint"))?;
        let store = open_store(global)?;
        checkpoint(&open_checkpoint(&store, &reference)?)?
    };
    if global.json {
        ui::print_json(&findings)?;
    } else {
        ui::print_text(&findings.to_string())?;
    }
    match &findings.error {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => {
            ui::warn(error);
            Ok(ExitCode::from(DAMAGED))
        }
    }
}

/// What unpacks the file, if it begins as a compressed one: people keep their streams so.
fn compression(file: &File) -> Option<&'static str> {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).ok()?;
    match magic {
        [0x28, 0xb5, 0x2f, 0xfd] => Some("zstd"),
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x04, 0x22, 0x4d, 0x18] => Some("lz4"),
        [0xfd, b'7', b'z', b'X'] => Some("xz"),
        _ => None,
    }
}

fn stream(channel: Fd) -> Result<Findings> {
    let mut findings = Findings {
        schema: SCHEMA,
        what: "stream",
        ..Findings::default()
    };
    let options = Options {
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    match load(&mut Reader::new(channel), &mut findings, &options) {
        Ok(summary) => findings.stream_bytes = Some(summary.bytes),
        // Where not even the header is one, there is nothing to describe.
        Err(LoadError::Read(Error::Format(error))) if error.at < header::LEN as u64 => {
            return Err(anyhow::Error::from(error).context("this is no migration stream"));
        }
        Err(LoadError::Read(error)) => {
            findings.error = Some(ui::chain(&anyhow::Error::from(error)));
        }
        Err(LoadError::Visitor(never)) => match never {},
    }
    Ok(findings)
}

fn checkpoint(checkpoint: &Checkpoint) -> Result<Findings> {
    let manifest = checkpoint.manifest();
    let mut findings = Findings {
        schema: SCHEMA,
        what: "checkpoint",
        page_size: manifest.ram.page_size,
        ..Findings::default()
    };
    let state = checkpoint.device_state()?;
    let show = |result: Result<(), Infallible>| match result {
        Ok(()) => {}
        Err(never) => match never {},
    };
    if let Some(configuration) = state.configuration() {
        show(findings.configuration(configuration));
    }
    for device in state.devices() {
        show(findings.device(&device));
    }
    if let Some(json) = state.vmdesc() {
        show(findings.vmdesc(json));
    }
    findings.run_state = manifest.machine.run_state.clone().or(findings.run_state);
    findings.stream_bytes = manifest.statistics.stream_bytes;
    findings.blocks = manifest
        .ram
        .blocks
        .iter()
        .map(|block| Block {
            idstr: block.idstr.clone(),
            used_length: block.used_length,
            pages: block.pages.data + block.pages.zero,
            zero_pages: block.pages.zero,
            data_pages: block.pages.data,
        })
        .collect();
    findings.manifest = Some(manifest.clone());
    Ok(findings)
}

impl Visitor for Findings {
    type Error = Infallible;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Infallible> {
        self.machine = Some(configuration.machine.clone());
        self.capabilities.clone_from(&configuration.capabilities);
        Ok(())
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Infallible> {
        self.page_size = page_size.bytes() as u64;
        for (index, block) in blocks.iter() {
            if index.0 == self.blocks.len() {
                self.blocks.push(Block::default());
            }
            self.blocks[index.0].idstr.clone_from(&block.idstr);
            self.blocks[index.0].used_length = block.used_length;
        }
        Ok(())
    }

    fn page(&mut self, block: BlockIndex, _: PageIndex, page: Page<'_>) -> Result<(), Infallible> {
        let block = &mut self.blocks[block.0];
        block.pages += 1;
        match page {
            Page::Data(data) if !is_zero(data) => block.data_pages += 1,
            _ => block.zero_pages += 1,
        }
        Ok(())
    }

    fn differences(&mut self, block: BlockIndex, _: PageIndex, _: &[u8]) -> Result<(), Infallible> {
        let block = &mut self.blocks[block.0];
        block.pages += 1;
        block.data_pages += 1;
        Ok(())
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Infallible> {
        if section.idstr == globalstate::IDSTR {
            self.run_state = globalstate::run_state(section.payload)
                .ok()
                .map(str::to_owned);
        }
        self.sections.push(Section {
            idstr: section.idstr.to_owned(),
            instance_id: section.instance_id,
            version_id: section.version_id,
            section_id: section.section_id,
            offset: section.offset,
            bytes: section.payload.len() as u64,
            early: section.phase == Phase::Early,
            guessed: section.split == Split::Footer,
        });
        Ok(())
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Infallible> {
        self.vmdesc_bytes = Some(json.len() as u64);
        Ok(())
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.head(f)?;
        if !self.blocks.is_empty() {
            let mut table = Table::new(&[
                "RAM BLOCK",
                ">SIZE",
                ">PAGES",
                ">DATA",
                ">ZERO",
                ">ZERO SHARE",
            ]);
            for block in &self.blocks {
                table.row([
                    block.idstr.clone(),
                    ui::bytes(block.used_length),
                    block.pages.to_string(),
                    block.data_pages.to_string(),
                    block.zero_pages.to_string(),
                    ui::percent(block.zero_pages, block.pages),
                ]);
            }
            write!(f, "\n{table}")?;
        }
        if !self.sections.is_empty() {
            let mut table = Table::new(&[
                "DEVICE SECTION",
                ">INSTANCE",
                ">VERSION",
                ">OFFSET",
                ">BYTES",
                "",
            ]);
            for section in &self.sections {
                let early = if section.early { "before the RAM" } else { "" };
                let guessed = if section.guessed && !section.early {
                    "end guessed"
                } else {
                    ""
                };
                table.row([
                    section.idstr.clone(),
                    section.instance_id.to_string(),
                    section.version_id.to_string(),
                    format!("{:#x}", section.offset),
                    section.bytes.to_string(),
                    format!("{early}{guessed}"),
                ]);
            }
            write!(f, "\n{table}")?;
        }
        Ok(())
    }
}

impl Findings {
    fn head(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut line = |name: &str, value: &dyn std::fmt::Display| writeln!(f, "{name:<14}{value}");
        match &self.manifest {
            Some(manifest) => line("checkpoint", &manifest.name())?,
            None => line("what", &"a QEMU migration stream")?,
        }
        line("machine", &self.machine.as_deref().unwrap_or("not said"))?;
        if !self.capabilities.is_empty() {
            line("capabilities", &self.capabilities.join(", "))?;
        }
        line(
            "run state",
            &self.run_state.as_deref().unwrap_or("not said"),
        )?;
        if let Some(manifest) = &self.manifest {
            let machine = &manifest.machine;
            line("created", &manifest.created)?;
            if let Some(version) = &machine.qemu_version {
                line("QEMU", version)?;
            }
            if let Some(mode) = &manifest.save.mode {
                line("saved by", &super::list::mode_name(mode))?;
            }
            let statistics = &manifest.statistics;
            line("stored", &ui::bytes(statistics.stored_bytes))?;
            for disk in manifest
                .block_devices
                .iter()
                .filter(|disk| disk.file.is_some())
            {
                let file = disk.file.as_deref().unwrap_or_default();
                let access = match disk.read_only {
                    Some(true) => "read-only",
                    _ => "writable",
                };
                line(
                    "disk",
                    &format_args!("{file} ({access}, not in the checkpoint)"),
                )?;
            }
            if !machine.command_line.is_empty() {
                line(
                    "command line",
                    &crate::machine::shell_words(&machine.command_line),
                )?;
            }
            for warning in &manifest.warnings {
                line("warning", warning)?;
            }
        }
        if let Some(bytes) = self.stream_bytes {
            line("stream", &ui::bytes(bytes))?;
        }
        if let Some(bytes) = self.vmdesc_bytes {
            line("description", &ui::bytes(bytes))?;
        }
        Ok(())
    }
}
