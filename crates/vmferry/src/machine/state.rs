//! A machine's state without its RAM.

use super::{Configuration, DeviceState, Phase, Rules};
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

impl MachineState {
    /// The run state that travels with the devices (`running`, `paused`, …), where it does.
    pub fn run_state(&self) -> Option<&str> {
        let device = self
            .devices
            .iter()
            .find(|device| device.header().idstr == globalstate::IDSTR)?;
        globalstate::run_state(device.payload()).ok()
    }

    /// Changes the run state that travels with the devices, where one does: a full restore ends in it.
    pub fn set_run_state(&mut self, run_state: &str) {
        for device in &mut self.devices {
            if device.header().idstr != globalstate::IDSTR {
                continue;
            }
            if let Some(payload) = device.payload_mut().first_chunk_mut() {
                *payload = globalstate::with_run_state(payload, run_state);
            }
        }
    }

    /// Whether memory is missing that the stream did not carry (`x-ignore-shared`), so that no whole machine can be
    /// made of it.
    pub fn lacks_shared_memory(&self) -> bool {
        let configuration = self.configuration.as_ref();
        configuration.is_some_and(Configuration::leaves_out_shared_memory)
    }

    /// What its machine type decides about a stream, where it names a release.
    pub fn rules(&self) -> Option<Rules> {
        Rules::of(&self.configuration.as_ref()?.machine)
    }

    /// Whether its sections end with footers, as those of every machine type from 2.4 on do.
    pub fn has_footers(&self) -> bool {
        self.devices.first().is_none_or(DeviceState::has_footer)
    }

    /// A section number that no device has: for the RAM.
    pub(crate) fn unused_section_id(&self) -> u32 {
        let used = |id: &u32| {
            self.devices
                .iter()
                .any(|device| device.header().section_id == *id)
        };
        (1..=u32::MAX).find(|id| !used(id)).unwrap_or(0)
    }

    /// Writes the configuration for a stream with its pages in records, whatever kind it came from.
    pub(crate) fn encode_configuration(&self, sink: &mut impl Sink) {
        if let Some(configuration) = self.configuration.clone() {
            configuration.without_mapped_ram().encode(sink);
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

    /// The devices that stand before the RAM, or those after it.
    pub fn devices_of(&self, phase: Phase) -> impl Iterator<Item = &DeviceState> {
        let devices = self.devices.iter();
        devices.filter(move |device| device.phase() == phase)
    }

    /// Writes the devices that stand before the RAM, or those after it.
    pub(crate) fn encode_devices(&self, phase: Phase, sink: &mut impl Sink) {
        for device in self.devices_of(phase) {
            sink.put(device.element());
        }
    }
}
