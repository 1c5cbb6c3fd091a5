//! What there is to say of a saved state, for people.

use std::fmt;

use super::block::{Block, Encoded};
use super::findings::{Findings, Section};
use crate::machine::shell_words;
use crate::ui::{self, Table};
use crate::view::devices::Name;
use crate::view::listing::Listed;
use crate::view::mode::mode_name;
use crate::view::scanned::Channel;

impl fmt::Display for Findings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        blocks(self.blocks, f)?;
        encodings(self.blocks, f)?;
        self.layout(f)?;
        match self.elements {
            Some(all) => elements(all, self.more_elements, f),
            None => sections(&self.sections, f),
        }
    }
}

fn blocks(blocks: &[Block], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if blocks.is_empty() {
        return Ok(());
    }
    // Most streams have neither; then the columns would be noise.
    let any = |of: fn(&Block) -> Option<u64>| blocks.iter().any(|block| of(block) > Some(0));
    let repeated = any(|block| block.repeated_pages);
    let unsent = any(|block| block.unsent_pages);
    let mut headings = vec![
        "RAM BLOCK",
        ">SIZE",
        ">PAGES",
        ">DATA",
        ">ZERO",
        ">ZERO SHARE",
    ];
    headings.extend(repeated.then_some(">AGAIN"));
    headings.extend(unsent.then_some(">NOT SENT"));
    let mut table = Table::new(&headings);
    for block in blocks {
        let mut row = vec![
            block.idstr.clone(),
            ui::bytes(block.used_length),
            block.pages.to_string(),
            block.data_pages.to_string(),
            block.zero_pages.to_string(),
            ui::percent(block.zero_pages, block.pages),
        ];
        let or_unknown =
            |count: Option<u64>| count.map_or_else(|| "-".into(), |count| count.to_string());
        row.extend(repeated.then(|| or_unknown(block.repeated_pages)));
        row.extend(unsent.then(|| or_unknown(block.unsent_pages)));
        table.add(row);
    }
    write!(f, "\n{table}")
}

/// All blocks together: one line for each form.
fn encodings(blocks: &[Block], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut all: Vec<Encoded> = Vec::new();
    for one in blocks.iter().flat_map(|block| &block.encodings) {
        match all.iter_mut().find(|other| other.encoding == one.encoding) {
            Some(sum) => {
                sum.pages += one.pages;
                sum.bytes += one.bytes;
            }
            None => all.push(one.clone()),
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["PAGES COME AS", ">PAGES", ">BYTES"]);
    for one in all {
        table.row([one.encoding, one.pages.to_string(), ui::bytes(one.bytes)]);
    }
    write!(f, "\n{table}")
}

fn sections(sections: &[Section<'_>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if sections.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "DEVICE SECTION",
        ">INSTANCE",
        ">VERSION",
        ">OFFSET",
        ">BYTES",
        "",
    ]);
    for section in sections {
        let remark = match (section.early, section.guessed) {
            (true, _) => "before the RAM",
            (false, true) => "end guessed",
            (false, false) => "",
        };
        table.row([
            section.idstr.to_owned(),
            section.instance_id.to_string(),
            section.version_id.to_string(),
            format!("{:#x}", section.offset),
            section.bytes.to_string(),
            remark.to_owned(),
        ]);
    }
    write!(f, "\n{table}")
}

/// All elements of a stream, in their order.
fn elements(elements: &[Listed], more: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if elements.is_empty() {
        return Ok(());
    }
    // Names are as long as they like: they stand last.
    let mut table = Table::new(&[">OFFSET", ">BYTES", ">PAGES", ">VERSION", "ELEMENT", "NAME"]);
    for one in elements {
        let times = match one.count {
            1 => String::new(),
            count => format!(" x {count}"),
        };
        let inside = if one.packaged { "  " } else { "" };
        let name = Name {
            idstr: &one.name,
            instance_id: one.instance_id.unwrap_or(0),
        };
        table.row([
            format!("{:#x}", one.offset),
            one.length.to_string(),
            match one.pages {
                0 => String::new(),
                pages => pages.to_string(),
            },
            one.version_id
                .map(|version| version.to_string())
                .unwrap_or_default(),
            format!("{inside}{}{times}", one.element),
            name.to_string(),
        ]);
    }
    write!(f, "\n{table}")?;
    match more {
        0 => Ok(()),
        more => writeln!(f, "and {more} elements more"),
    }
}

impl Findings<'_> {
    fn layout(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layout.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&[">ADDRESS", ">SIZE", "WHAT", ">OFFSET", "IN RAM BLOCK"]);
        for part in self.layout {
            table.row([
                format!("{:#x}", part.address),
                ui::bytes(part.length),
                part.kind.to_owned(),
                format!("{:#x}", part.offset),
                part.idstr.clone(),
            ]);
        }
        write!(f, "\n{table}")
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| {
            writeln!(f, "{name:<14}{}", ui::in_line(value.to_string()))
        };
        match &self.manifest {
            Some(manifest) => line("checkpoint", &manifest.name())?,
            None => line(
                "what",
                &self.container.map_or("", |c| c.description.as_str()),
            )?,
        }
        if let Some(domain) = self.container.and_then(|c| c.domain.as_deref()) {
            line("domain", &domain)?;
        }
        line("machine", &self.machine.unwrap_or("not said"))?;
        if !self.capabilities.is_empty() {
            line("capabilities", &self.capabilities.join(", "))?;
        }
        if let Some(mode) = self.mode {
            line("mode", &mode)?;
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
                line("saved by", &mode_name(mode))?;
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
                line("command line", &shell_words(&machine.command_line))?;
            }
            for warning in &manifest.warnings {
                line("warning", warning)?;
            }
        }
        if let Some(bytes) = self.stream_bytes {
            line("stream", &ui::bytes(bytes))?;
        }
        for Channel { kind, id, bytes } in self.channels {
            let name = match id {
                Some(id) => format!("{kind} {id}"),
                None => (*kind).to_owned(),
            };
            line(&name, &ui::bytes(*bytes))?;
        }
        if let Some(bytes) = self.vmdesc_bytes {
            line("description", &ui::bytes(bytes))?;
        }
        for note in self.notes {
            line("note", note)?;
        }
        if !self.whole {
            line("whole", &"no: this is as far as it goes")?;
        }
        Ok(())
    }
}
