//! The result of a comparison, for people: the sum of it first.

use std::fmt;

use super::change::Change;
use super::devices::{ChangedDevice, DeviceName};
use super::memory::MemoryDifferences;
use super::report::Report;
use crate::ui::{self, Table};
use crate::view::count;
use crate::view::devices::Name;

/// Fields of one device that are shown; in JSON there are all.
const FIELDS: usize = 200;

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary(f)?;
        for device in &self.devices.changed {
            write_device(device, f)?;
        }
        if let Some(memory) = &self.memory {
            write_blocks(memory, f)?;
            write_ranges(memory, f)?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "not said".into());
        for (name, what) in [("machine", &self.machine), ("run state", &self.run_state)] {
            let (old, new) = (or_unknown(&what.old), or_unknown(&what.new));
            let (old, new) = (ui::in_line(&old), ui::in_line(&new));
            if old == new {
                writeln!(f, "{name:<12}{old}")?;
            } else {
                writeln!(f, "{name:<12}{old} -> {new}")?;
            }
        }
        let devices = &self.devices;
        let mut parts = vec![format!("{} the same", devices.same)];
        let sizes = [
            (devices.changed.len(), "changed"),
            (devices.added.len(), "added"),
            (devices.removed.len(), "removed"),
        ];
        let sizes = sizes.iter().filter(|(number, _)| *number > 0);
        parts.extend(sizes.map(|(number, what)| format!("{number} {what}")));
        writeln!(f, "devices     {}", parts.join(", "))?;
        match &self.memory {
            None => writeln!(f, "memory      not compared")?,
            Some(memory) => writeln!(f, "memory      {}", of_memory(memory))?,
        }
        let mut list = |what: &str, names: &[DeviceName]| {
            names
                .iter()
                .try_for_each(|name| writeln!(f, "{what:<12}device {}", shown(name)))
        };
        list("added", &devices.added)?;
        list("removed", &devices.removed)
    }
}

fn shown(name: &DeviceName) -> String {
    let name = Name {
        idstr: &name.idstr,
        instance_id: name.instance_id,
    };
    ui::in_line(name.to_string()).into_owned()
}

fn of_memory(memory: &MemoryDifferences) -> String {
    let pages = &memory.pages;
    let different = pages.different();
    if different == 0 {
        return format!("{} the same", count(pages.same_pages, "page"));
    }
    let all = pages.same_pages + different;
    format!(
        "{different} of {} differ ({})",
        count(all, "page"),
        ui::bytes(different * memory.page_size)
    )
}

fn write_device(device: &ChangedDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\nDEVICE {}", shown(&device.device))?;
    if let Some(version) = &device.version_id {
        writeln!(f, "  version  {} -> {}", version.old, version.new)?;
    }
    if let Some(text) = &device.without_names {
        writeln!(f, "  {}", ui::in_line(text))?;
    }
    let paths = device.fields.iter().map(|field| field.path.len());
    let width = paths.max().unwrap_or(0).min(36);
    for field in device.fields.iter().take(FIELDS) {
        let (old, new) = (ui::in_line(&field.text.old), ui::in_line(&field.text.new));
        let path = ui::in_line(&field.path);
        writeln!(f, "  {path:<width$}  {old} -> {new}")?;
    }
    for (sign, fields) in [("+", &device.added), ("-", &device.removed)] {
        for field in fields.iter().take(FIELDS) {
            let (path, text) = (ui::in_line(&field.path), ui::in_line(&field.text));
            writeln!(f, "{sign} {path:<width$}  {text}")?;
        }
    }
    let sizes = [&device.added, &device.removed].map(Vec::len);
    let left = [device.fields.len(), sizes[0], sizes[1]];
    let left: usize = left.iter().map(|len| len.saturating_sub(FIELDS)).sum();
    if left > 0 {
        writeln!(f, "  and {} more: see --json", count(left as u64, "field"))?;
    }
    Ok(())
}

fn write_blocks(memory: &MemoryDifferences, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut table = Table::new(&[
        "RAM BLOCK",
        ">SIZE",
        ">SAME",
        ">CHANGED",
        ">NEWLY USED",
        ">NEWLY ZERO",
    ]);
    for block in &memory.blocks {
        let size = if block.old_length == block.new_length {
            ui::bytes(block.new_length)
        } else {
            let (old, new) = (block.old_length, block.new_length);
            format!("{} -> {}", ui::bytes(old), ui::bytes(new))
        };
        table.row([
            block.idstr.clone(),
            size,
            block.pages.same_pages.to_string(),
            block.pages.changed_pages.to_string(),
            block.pages.newly_used_pages.to_string(),
            block.pages.newly_zero_pages.to_string(),
        ]);
    }
    for (blocks, what) in [(&memory.added, "added"), (&memory.removed, "removed")] {
        for block in blocks {
            let size = ui::bytes(block.used_length);
            let nothing = || "-".to_owned();
            table.row([
                format!("{} ({what})", block.idstr),
                size,
                nothing(),
                nothing(),
                nothing(),
                nothing(),
            ]);
        }
    }
    write!(f, "\n{table}")
}

fn write_ranges(memory: &MemoryDifferences, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut table = Table::new(&["RAM BLOCK", ">OFFSET", ">ADDRESS", ">PAGES", "WHAT"]);
    let mut any = false;
    for block in &memory.blocks {
        for range in block.ranges.iter().flatten() {
            any = true;
            let address = range.address.map(|address| format!("{address:#x}"));
            table.row([
                block.idstr.clone(),
                format!("{:#x}", range.offset),
                address.unwrap_or_else(|| "-".into()),
                range.pages.to_string(),
                match range.kind {
                    Change::Changed => "changed",
                    Change::NewlyUsed => "newly used",
                    Change::NewlyZero => "newly zero",
                }
                .to_owned(),
            ]);
        }
    }
    if any { write!(f, "\n{table}") } else { Ok(()) }
}
