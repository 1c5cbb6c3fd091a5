//! A device's state along a description, both made up: an error, or every byte of it accounted for.
//!
//! Two bytes say how long the JSON text is; the state stands behind it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmferry::wire::virtio;
use vmferry::wire::vmdesc::{self, VmDesc};
use vmferry::wire::vmstate::{self, State};

/// Fields lie one behind the other.
fn is_gapless(state: &State<'_>) {
    for pair in state.fields.windows(2) {
        assert_eq!(pair[0].at + pair[0].bytes.len(), pair[1].at);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = vmdesc::locate(bytes);
    let mut finder = vmdesc::Finder::default();
    while let Some(range) = finder.next(bytes) {
        assert!(range.start < range.end && range.end <= bytes.len());
    }
    if let Ok(device) = virtio::decode(bytes, 0) {
        let last = device.fields.last().expect("it has fields");
        assert!(last.at + last.bytes.len() <= bytes.len());
        is_gapless(&device);
    }
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (json, payload) = rest.split_at(length);
    let Ok(vmdesc) = VmDesc::parse(json, 0) else {
        return;
    };
    for device in &vmdesc.devices {
        match vmstate::decode(device, payload, 0x1000) {
            Ok(state) => {
                assert_eq!(device.payload_len(), Some(payload.len() as u64));
                is_gapless(&state);
            }
            Err(error) => assert!(error.at >= 0x1000 && error.at <= 0x1000 + payload.len() as u64),
        }
    }
});
