//! What a saved machine says of where its memory lies.

use std::collections::HashMap;

use vmferry::machine::MachineState;
use vmferry::ram::RamBlocks;
use vmferry::ram::layout::Known;
use vmferry::wire::vmdesc::VmDesc;
use vmferry::wire::vmstate::{self, Value};

/// The device with the real-time clock; its state begins with the clock's memory.
const RTC: &str = "mc146818rtc";
const CMOS_LEN: usize = 128;

/// The device section of virtio-mem that precedes the RAM; its owner's path stands before it.
const VIRTIO_MEM: &str = "/virtio-mem-device-early";

/// What the state alone says.
pub fn of_state(state: &MachineState, blocks: &RamBlocks) -> Known {
    let rtc = state
        .devices
        .iter()
        .find(|device| device.header().idstr == RTC);
    Known {
        machine: state.configuration.as_ref().map(|c| c.machine.clone()),
        cmos: rtc
            .and_then(|rtc| rtc.payload().get(..CMOS_LEN))
            .map(<[u8]>::to_vec),
        placed: virtio_mem(state, blocks),
        ..Known::default()
    }
}

/// The memory of virtio-mem devices, and where it lies; nothing of a device that is not described.
fn virtio_mem(state: &MachineState, blocks: &RamBlocks) -> Vec<(String, u64)> {
    let description = state
        .vmdesc
        .as_deref()
        .and_then(|json| VmDesc::parse(json, 0).ok());
    // The first of several of the same name.
    let mut by_name = HashMap::new();
    for device in description.iter().flat_map(|all| &all.devices) {
        by_name.entry(device.name.as_str()).or_insert(device);
    }
    let place = |device: &vmferry::machine::DeviceState| {
        let idstr = &device.header().idstr;
        let path = idstr.strip_suffix(VIRTIO_MEM)?;
        let decoded = vmstate::decode(by_name.get(idstr.as_str())?, device.payload(), 0).ok()?;
        let checks = decoded.fields.iter().find_map(|field| match &field.value {
            Value::Struct(checks) => Some(checks),
            _ => None,
        })?;
        let number = |name: &str| {
            let field = checks.fields.iter().find(|field| field.name == name)?;
            match field.value {
                Value::Unsigned(number) => Some(number),
                _ => None,
            }
        };
        let (address, size) = (number("addr")?, number("region_size")?);
        let (_, block) = blocks.iter().find(|(_, block)| {
            let own = block.idstr.strip_prefix(path);
            own.is_some_and(|own| own.starts_with('/')) && block.used_length == size
        })?;
        Some((block.idstr.clone(), address))
    };
    state.devices.iter().filter_map(place).collect()
}
