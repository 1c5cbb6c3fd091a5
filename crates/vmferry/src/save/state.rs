//! A machine's state without its RAM.

use std::ops::Range;

use super::{RamWriter, Rules};
use crate::load::{Configuration, DeviceSection, Phase};
use crate::ram::PageSource;
use crate::wire::section::{ElementType, FOOTER_LEN, SectionHeader, footer};
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

/// One device's state: as it came, or [made](Self::new) from its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    header: SectionHeader,
    phase: Phase,
    /// The header, the payload, and a footer or none: exactly these.
    element: Vec<u8>,
    payload: Range<usize>,
}

/// A name that no section can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a device is named by 1 to 255 bytes of text without NUL, not by {0:?}")]
pub struct InvalidIdstr(Box<str>);

impl From<&DeviceSection<'_>> for DeviceState {
    fn from(section: &DeviceSection<'_>) -> Self {
        let header = SectionHeader {
            section_id: section.section_id,
            idstr: section.idstr.to_owned(),
            instance_id: section.instance_id,
            version_id: section.version_id,
        };
        let start = header.encoded_len();
        Self {
            payload: start..start + section.payload.len(),
            header,
            phase: section.phase,
            element: section.element.to_vec(),
        }
    }
}

impl DeviceState {
    /// The state of the device that `header` names, ending with a footer, as every machine type from 2.4 on has them.
    ///
    /// # Errors
    /// The device cannot have this name in a stream.
    pub fn new(header: SectionHeader, phase: Phase, payload: &[u8]) -> Result<Self, InvalidIdstr> {
        let name = &header.idstr;
        if name.is_empty() || name.len() > usize::from(u8::MAX) || name.contains('\0') {
            return Err(InvalidIdstr(header.idstr.into()));
        }
        let mut element = Vec::new();
        header.encode(ElementType::Full, &mut element);
        let start = element.len();
        element.extend_from_slice(payload);
        element.extend_from_slice(&footer(header.section_id));
        Ok(Self {
            payload: start..start + payload.len(),
            header,
            phase,
            element,
        })
    }

    /// The same state for a machine type before 2.4, whose sections end without a footer.
    #[must_use]
    pub fn without_footer(mut self) -> Self {
        self.element.truncate(self.payload.end);
        self
    }

    /// Whose state it is.
    pub fn header(&self) -> &SectionHeader {
        &self.header
    }

    /// Before or after the RAM.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The whole element, from its type byte to the end of its footer.
    pub fn element(&self) -> &[u8] {
        &self.element
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        self.element.get(self.payload.clone()).unwrap_or_default()
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Whether the element ends with a footer; without one, its stream had none anywhere.
    pub fn has_footer(&self) -> bool {
        self.element.len() == self.payload.end + FOOTER_LEN
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
            let Some(payload) = device
                .element
                .get_mut(device.payload.clone())
                .and_then(|e| e.first_chunk_mut())
            else {
                continue;
            };
            *payload = globalstate::with_run_state(payload, run_state);
        }
    }

    /// Whether memory is missing that the stream did not carry (`x-ignore-shared`), so that no whole machine can be
    /// made of it.
    pub fn lacks_shared_memory(&self) -> bool {
        let configuration = self.configuration.as_ref();
        configuration.is_some_and(|c| c.has_capability(configuration::X_IGNORE_SHARED))
    }

    /// What its machine type decides about a stream, where it tells its release.
    pub fn rules(&self) -> Option<Rules> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Image, Options, VmDescRule, load};
    use crate::wire::SliceSource;

    fn golden(name: &str) -> MachineState {
        let folder = env!("CARGO_MANIFEST_DIR");
        let path = format!("{folder}/../../testdata/streams/{name}.stream.zst");
        let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        let options = Options {
            vmdesc: VmDescRule::Optional,
            ..Options::default()
        };
        let mut image = Image::default();
        load(&mut SliceSource::new(&bytes), &mut image, &options).unwrap();
        image.state
    }

    #[test]
    fn a_device_that_is_made_is_the_one_that_qemu_sends() {
        for (name, footers) in [("10.0-q35-vmem", true), ("7.2-pc-2.3", false)] {
            let state = golden(name);
            assert!(!state.devices.is_empty());
            for device in &state.devices {
                let header = device.header().clone();
                let mut made = DeviceState::new(header, device.phase(), device.payload()).unwrap();
                if !footers {
                    made = made.without_footer();
                }
                assert_eq!(made, *device, "{name}");
                assert_eq!(made.has_footer(), footers, "{name}");
            }
        }
    }

    #[test]
    fn a_name_that_no_section_can_have_is_refused() {
        for name in ["", "a\0b", &"a".repeat(256)] {
            let header = SectionHeader {
                section_id: 1,
                idstr: name.to_owned(),
                instance_id: 0,
                version_id: 1,
            };
            let made = DeviceState::new(header, Phase::Device, b"state");
            assert!(made.unwrap_err().to_string().contains("1 to 255 bytes"));
        }
    }
}
