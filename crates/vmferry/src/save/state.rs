//! A machine's state without its RAM.

use super::{RamWriter, Rules};
use crate::load::{Configuration, DeviceSection, Phase};
use crate::ram::PageSource;
use crate::wire::section::{FOOTER_LEN, SectionHeader};
use crate::wire::{Sink, configuration, globalstate};

/// Everything of a machine but its RAM, as its stream carried it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineState {
    /// The machine; `None` for machine types before 2.4.
    pub configuration: Option<Configuration>,
    /// Its devices, in the order in which they came, which is the order in which they must go.
    pub devices: Vec<DeviceState>,
    /// The description of the devices, as it came.
    pub vmdesc: Option<Vec<u8>>,
}

/// One device's state, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    /// Whose state it is.
    pub header: SectionHeader,
    /// Before or behind the RAM.
    pub phase: Phase,
    /// The whole element, from its type byte to the end of its footer.
    pub element: Vec<u8>,
    /// Bytes of the payload.
    pub payload_len: usize,
}

impl From<&DeviceSection<'_>> for DeviceState {
    fn from(section: &DeviceSection<'_>) -> Self {
        Self {
            header: SectionHeader {
                section_id: section.section_id,
                idstr: section.idstr.to_owned(),
                instance_id: section.instance_id,
                version_id: section.version_id,
            },
            phase: section.phase,
            element: section.element.to_vec(),
            payload_len: section.payload.len(),
        }
    }
}

impl DeviceState {
    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        let start = self.header.encoded_len();
        self.element
            .get(start..start + self.payload_len)
            .unwrap_or_default()
    }

    /// Whether the element ends with a footer; without one, its stream had none anywhere.
    pub fn has_footer(&self) -> bool {
        self.element.len() == self.header.encoded_len() + self.payload_len + FOOTER_LEN
    }
}

impl MachineState {
    /// The run state that travels with the devices (`running`, `paused`, …), where it does.
    pub fn run_state(&self) -> Option<&str> {
        let device = self
            .devices
            .iter()
            .find(|device| device.header.idstr == globalstate::IDSTR)?;
        globalstate::run_state(device.payload()).ok()
    }

    /// Lets another run state travel with the devices: a full restore ends in it.
    pub fn set_run_state(&mut self, run_state: &str) {
        for device in &mut self.devices {
            if device.header.idstr != globalstate::IDSTR {
                continue;
            }
            let start = device.header.encoded_len();
            let Some(payload) = device
                .element
                .get_mut(start..)
                .and_then(|e| e.first_chunk_mut())
            else {
                continue;
            };
            *payload = globalstate::with_run_state(payload, run_state);
        }
    }

    /// Whether memory is missing that the stream did not carry, so that none can be made of it.
    pub(crate) fn lacks_shared_memory(&self) -> bool {
        let configuration = self.configuration.as_ref();
        configuration.is_some_and(|c| c.has_capability(configuration::X_IGNORE_SHARED))
    }

    /// What its machine type decides about a stream, where it tells its release.
    pub(crate) fn rules(&self) -> Option<Rules> {
        Rules::of(&self.configuration.as_ref()?.machine)
    }

    /// A section number that no device has: for the RAM.
    fn unused_section_id(&self) -> u32 {
        let used = |id: &u32| {
            self.devices
                .iter()
                .any(|device| device.header.section_id == *id)
        };
        (1..=u32::MAX).find(|id| !used(id)).unwrap_or(0)
    }

    /// A writer for the RAM that goes with this state: with a section number of its own, and with
    /// footers where the devices have them.
    pub fn ram_writer(&self, source: &impl PageSource) -> RamWriter {
        let ram = RamWriter::new(source, self.unused_section_id());
        match self.devices.first() {
            Some(device) if !device.has_footer() => ram.without_footers(),
            _ => ram,
        }
    }

    /// Writes the configuration for a stream with its pages in records, whatever kind it came from.
    pub(crate) fn encode_configuration(&self, sink: &mut impl Sink) {
        if let Some(mut configuration) = self.configuration.clone() {
            configuration
                .capabilities
                .retain(|capability| capability != configuration::MAPPED_RAM);
            configuration.encode(sink);
        }
    }

    /// Writes the configuration for a mapped-ram file; `false` if there is none to write.
    pub(crate) fn encode_mapped_configuration(&self, sink: &mut impl Sink) -> bool {
        let Some(mut configuration) = self.configuration.clone() else {
            return false;
        };
        if !configuration.has_capability(configuration::MAPPED_RAM) {
            let capabilities = &mut configuration.capabilities;
            capabilities.push(configuration::MAPPED_RAM.into());
        }
        configuration.encode(sink);
        true
    }

    pub(crate) fn encode_devices(&self, phase: Phase, sink: &mut impl Sink) {
        for device in self.devices.iter().filter(|device| device.phase == phase) {
            sink.put(&device.element);
        }
    }
}
