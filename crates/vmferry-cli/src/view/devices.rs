//! The devices of a saved state, each with its description where there is one.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Result, bail};
use vmferry::error::FormatError;
use vmferry::machine::{DeviceState, MachineState, Phase};
use vmferry::wire::vmdesc::{self, VmDesc};
use vmferry::wire::vmstate::{self, State};

/// The devices of a machine, in stream order.
#[derive(Debug, Clone)]
pub struct Devices<'a> {
    sections: &'a [DeviceState],
    description: Option<VmDesc>,
    /// Which device of the description is the first one of a section that is not at its place there.
    described: HashMap<(&'a str, u32), usize>,
}

/// One device's section, and its description.
#[derive(Debug, Clone, Copy)]
pub struct Device<'d> {
    /// Its place among all of them.
    pub index: usize,
    /// The section, as it came.
    pub section: &'d DeviceState,
    /// Which values are in it; `None` where the stream does not tell.
    pub description: Option<&'d vmdesc::Device>,
}

/// A device's state has no names for its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// Nothing describes it.
    #[error("the stream has no description (vmdesc) of it")]
    NotDescribed,
    /// QEMU described an array in it by its first element, which is missing.
    #[error("QEMU described it wrongly (an array of pointers that begins with null)")]
    Misdescribed,
    /// It is not what its description says. Offsets are those in the payload.
    #[error(transparent)]
    Damaged(#[from] FormatError),
}

impl<'a> Devices<'a> {
    /// The devices of `state`.
    ///
    /// # Errors
    /// The description is not one that QEMU would have written.
    pub fn new(state: &'a MachineState) -> Result<Self, FormatError> {
        let description = state.vmdesc.as_deref();
        let description = description.map(|json| VmDesc::parse(json, 0)).transpose()?;
        let sections = &state.devices;
        let described = description.as_ref();
        let described = described.map_or_else(HashMap::new, |all| elsewhere(sections, all));
        Ok(Self {
            sections,
            description,
            described,
        })
    }

    /// All of them, in stream order.
    pub fn iter(&self) -> impl Iterator<Item = Device<'_>> {
        (0..self.sections.len()).filter_map(|at| self.get(at))
    }

    fn get(&self, at: usize) -> Option<Device<'_>> {
        let section = self.sections.get(at)?;
        let of_section = |device: &&vmdesc::Device| {
            device.name == section.header().idstr
                && device.instance_id == section.header().instance_id
        };
        // The description is in stream order, one entry for each section.
        let description = self.description.as_ref().and_then(|description| {
            let same_place = description.devices.get(at).filter(of_section);
            let header = section.header();
            same_place.or_else(|| {
                let name = (header.idstr.as_str(), header.instance_id);
                description.devices.get(*self.described.get(&name)?)
            })
        });
        Some(Device {
            index: at,
            section,
            description,
        })
    }

    /// The device that a person named: `NAME[:INSTANCE]`, where the name is the whole one of its section
    /// (`0000:00:1f.2/ich9_ahci`), or what stands behind its path (`ich9_ahci`).
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, name: &str) -> Result<Device<'_>> {
        let numbered = name.rsplit_once(':').and_then(|(name, instance)| {
            let instance: u32 = instance.parse().ok()?;
            Some((name, instance))
        });
        let is = |device: &Device<'_>, name: &str, whole: bool| {
            let idstr = device.section.header().idstr.as_str();
            idstr == name || !whole && idstr.rsplit('/').next() == Some(name)
        };
        for whole in [true, false] {
            let mut found: Vec<_> = self.iter().filter(|d| is(d, name, whole)).collect();
            if let (true, Some((name, instance))) = (found.is_empty(), numbered) {
                let of_instance = |d: &Device<'_>| d.section.header().instance_id == instance;
                let all = self.iter().filter(|d| is(d, name, whole));
                found = all.filter(of_instance).collect();
            }
            match found.as_slice() {
                [] => {}
                // Instance 0 is meant where nothing is said.
                [device] => return Ok(*device),
                [device, ..] if whole && numbered.is_none() => return Ok(*device),
                several => {
                    let names: Vec<_> = several.iter().map(|d| d.name().to_string()).collect();
                    bail!("'{name}' is the name of several: {}", names.join(", "))
                }
            }
        }
        let close: Vec<_> = self
            .iter()
            .filter(|device| device.section.header().idstr.contains(name))
            .map(|device| device.name().to_string())
            .take(5)
            .collect();
        match close.as_slice() {
            [] => bail!("there is no device '{name}': '--devices' lists those that there are"),
            close => bail!("there is no device '{name}', but {}", close.join(", ")),
        }
    }

    /// The device with this section name and instance.
    pub fn exactly(&self, idstr: &str, instance_id: u32) -> Option<Device<'_>> {
        self.iter().find(|device| {
            let header = device.section.header();
            header.idstr == idstr && header.instance_id == instance_id
        })
    }
}

/// Where in the description sections are that are not at their own place: looked up once, because there may be
/// thousands of both.
fn elsewhere<'a>(
    sections: &'a [DeviceState],
    description: &VmDesc,
) -> HashMap<(&'a str, u32), usize> {
    let mut places: HashMap<_, _> = HashMap::new();
    for (at, device) in description.devices.iter().enumerate() {
        let name = (device.name.as_str(), device.instance_id);
        places.entry(name).or_insert(at);
    }
    let names = sections.iter().filter_map(|section| {
        let name = (
            section.header().idstr.as_str(),
            section.header().instance_id,
        );
        Some((name, *places.get(&name)?))
    });
    names.collect()
}

impl<'d> Device<'d> {
    /// Its state, with names.
    ///
    /// # Errors
    /// Nothing describes it, or it is not what is described.
    pub fn decode(&self) -> Result<State<'d>, Undecoded> {
        self.decode_at(0)
    }

    /// The same, where the section's element stands at this offset of its stream: errors say where.
    ///
    /// # Errors
    /// Nothing describes it, or it is not what is described.
    pub fn decode_in_stream(&self, offset: u64) -> Result<State<'d>, Undecoded> {
        self.decode_at(offset.saturating_add(self.section.header().encoded_len() as u64))
    }

    fn decode_at(&self, at: u64) -> Result<State<'d>, Undecoded> {
        let description = self.description.ok_or(Undecoded::NotDescribed)?;
        let payload = self.section.payload();
        vmstate::decode(description, payload, at).map_err(|error| {
            let described = description.payload_len();
            match description.may_be_of_other_length() && described != Some(payload.len() as u64) {
                true => Undecoded::Misdescribed,
                false => error.into(),
            }
        })
    }

    /// Its name as a person would say it.
    pub fn name(&self) -> Name<'d> {
        let header = self.section.header();
        Name {
            idstr: &header.idstr,
            instance_id: header.instance_id,
        }
    }

    /// Whether it stands before the RAM.
    pub fn is_early(&self) -> bool {
        self.section.phase() == Phase::Early
    }
}

/// The name of a device: that of its section, and which of several it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a> {
    /// Whose state it is.
    pub idstr: &'a str,
    /// Which of several owners of the same name.
    pub instance_id: u32,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instance_id {
            0 => f.write_str(self.idstr),
            instance => write!(f, "{}:{instance}", self.idstr),
        }
    }
}
