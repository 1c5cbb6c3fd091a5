//! `vmferry inspect --device`, `--devices`, `--raw`: the devices of a saved state.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Serialize;

use super::contents::Contents;
use super::findings::Section;
use crate::args::Global;
use crate::ui::{self, Table};
use crate::view::devices::{Device, Devices};
use crate::view::{Hex, Tree, write_tree};

/// By this name `--raw` means the description of the devices.
const VMDESC: &str = "vmdesc";

#[derive(Serialize)]
struct Listing<'a> {
    schema: u32,
    devices: Vec<Listed<'a>>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    section: Section<'a>,
    /// QEMU's name for this kind of state.
    kind: Option<&'a str>,
    /// Whether its values have names, and if not, why.
    decoded: bool,
    decode_error: Option<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    schema: u32,
    device: Listed<'a>,
    state: Option<Tree<'a, 'a>>,
    /// Where there are no names.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    error: Option<String>,
}

impl Contents {
    fn devices(&self) -> Result<Devices<'_>> {
        Devices::new(&self.state).context("the devices have no names for their values")
    }

    fn error(&self) -> Option<String> {
        self.trouble.as_ref().map(ToString::to_string)
    }

    /// What the lists say of a device.
    fn listed<'d>(&'d self, device: &Device<'d>) -> Option<Listed<'d>> {
        let decoded = device.decode();
        let kind = device.description.map(|d| d.vmsd_name.as_str());
        Some(Listed {
            section: self.section(device.index)?,
            kind: kind.filter(|kind| !kind.is_empty()),
            decoded: decoded.is_ok(),
            decode_error: decoded.err().map(|error| error.to_string()),
        })
    }
}

/// All devices, one line each.
pub(super) fn print_list(global: &Global, contents: &Contents) -> Result<()> {
    let devices = contents.devices()?;
    let listed: Vec<_> = devices
        .iter()
        .filter_map(|device| contents.listed(&device))
        .collect();
    if global.json {
        return ui::print_json(&Listing {
            schema: ui::SCHEMA,
            devices: listed,
            error: contents.error(),
        });
    }
    let mut table = Table::new(&["DEVICE", "KIND", ">VERSION", ">BYTES", ""]);
    for (device, listed) in devices.iter().zip(&listed) {
        table.row([
            device.name().to_string(),
            listed.kind.unwrap_or("-").to_owned(),
            listed.section.version_id.to_string(),
            listed.section.bytes.to_string(),
            match (listed.decoded, device.description) {
                (true, _) => "",
                (false, None) => "no names",
                (false, Some(_)) => "not as described",
            }
            .to_owned(),
        ]);
    }
    ui::print_text(&table.to_string())
}

/// One device, as a tree.
pub(super) fn print(global: &Global, contents: &Contents, name: &str) -> Result<()> {
    let devices = contents.devices()?;
    let device = devices.find(name)?;
    let section = device.section;
    let decoded = device.decode();
    if global.json {
        let Some(listed) = contents.listed(&device) else {
            return Ok(());
        };
        return ui::print_json(&Shown {
            schema: ui::SCHEMA,
            device: listed,
            state: decoded.as_ref().ok().map(Tree),
            raw: decoded.is_err().then(|| Hex(section.payload()).to_string()),
            error: contents.error(),
        });
    }
    let mut text = format!(
        "{}, version {}, {} bytes\n\n",
        ui::in_line(device.name().to_string()),
        section.header().version_id,
        section.payload_len()
    );
    match decoded {
        Ok(state) => write_tree(&state, &mut text)?,
        Err(error) => {
            let error = error.to_string();
            writeln!(text, "values without names: {}\n", ui::in_line(&error))?;
            crate::view::write_dump(section.payload(), &mut text)?;
        }
    }
    ui::print_text(&text)
}

/// The bytes of one device, or of the description of all of them.
pub(super) fn print_raw(contents: &Contents, name: &str) -> Result<()> {
    if name == VMDESC {
        let json = contents.state.vmdesc.as_deref();
        return ui::print_bytes(json.context("there is no description (vmdesc) in it")?);
    }
    let devices = contents.devices()?;
    let device = devices.find(name)?;
    ui::print_bytes(device.section.payload())
}
