//! The state of every device of every stream that a real QEMU wrote, taken apart with names.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, may panic")]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;

use vmferry::load::{Options, Origin, OtherSections, Visitor, load};
use vmferry::machine::DeviceSection;
use vmferry::ram::{BlockIndex, Page, PageIndex};
use vmferry::wire::vmdesc::{self, VmDesc};
use vmferry::wire::vmstate::{self, Key, State, Value};
use vmferry::wire::{SliceSource, virtio};

#[derive(Default)]
struct Devices {
    sections: Vec<(String, u64, Vec<u8>)>,
    vmdesc: Vec<u8>,
}

impl Visitor for Devices {
    type Error = Infallible;

    fn page(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        Ok(())
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        Ok(())
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Infallible> {
        let payload = section.payload.to_vec();
        self.sections
            .push((section.idstr.to_owned(), section.offset, payload));
        Ok(())
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Infallible> {
        self.vmdesc = json.to_vec();
        Ok(())
    }
}

/// The devices of each golden stream that one pass reads and that has a description, by the stream's name.
fn streams() -> Vec<(String, Devices)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let mut streams = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // No description follows the devices of a guest that moved before its pages, and others have none, either.
        let without_description = ["pc-2.2", "suppress-vmdesc", "postcopy."];
        if !name.ends_with(".stream.zst")
            || without_description.iter().any(|words| name.contains(words))
        {
            continue;
        }
        let bytes = zstd::decode_all(&*std::fs::read(&path).unwrap()).unwrap();
        let mut devices = Devices::default();
        load(
            &mut SliceSource::new(&bytes),
            &mut devices,
            &Options {
                other_sections: OtherSections::PassOver,
                ..Options::default()
            },
        )
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!devices.vmdesc.is_empty(), "{name} has no description");
        streams.push((name, devices));
    }
    assert!(streams.len() >= 20, "{}", streams.len());
    streams
}

fn is_of_pc((name, _): &(String, Devices)) -> bool {
    ["-pc-", "-q35-"].iter().any(|words| name.contains(words))
}

/// The devices with what describes them, but for the one of which QEMU 7.2 tells less than there is.
fn described<'a>(
    vmdesc: &'a VmDesc,
    devices: &'a Devices,
) -> impl Iterator<Item = (&'a vmdesc::Device, &'a (String, u64, Vec<u8>))> {
    let all = vmdesc.devices.iter().zip(&devices.sections);
    all.filter(|(device, (idstr, _, payload))| {
        let is_right = device.payload_len() == Some(payload.len() as u64);
        assert!(
            is_right || idstr == "s390_css" && device.may_be_of_other_length(),
            "{idstr}"
        );
        is_right
    })
}

/// Every byte of a state belongs to a field, or to the head of a subsection.
fn covered(state: &State<'_>) -> usize {
    let fields = state.fields.iter().map(|field| {
        match &field.value {
            Value::Struct(state) => assert_eq!(covered(state), field.bytes.len(), "{}", field.name),
            Value::List(list) => {
                let elements = list.iter().map(|state| 1 + covered(state));
                assert_eq!(elements.sum::<usize>() + 1, field.bytes.len());
            }
            Value::Tree(tree) => {
                let entries = tree.iter().map(|(key, state)| {
                    let key = match key {
                        Key::Direct(_) => 8,
                        Key::Struct(key) => covered(key),
                    };
                    1 + key + covered(state)
                });
                assert_eq!(4 + entries.sum::<usize>() + 1, field.bytes.len());
            }
            _ => {}
        }
        field.bytes.len()
    });
    let fields: usize = fields.sum();
    let subsections = state.subsections.iter();
    fields
        + subsections
            .map(|state| 6 + state.name.len() + covered(state))
            .sum::<usize>()
}

/// The field at `path`, where a number is an index.
fn find<'s>(state: &'s State<'s>, path: &[&str]) -> &'s Value<'s> {
    let (name, rest) = path.split_first().unwrap();
    let field = state.fields.iter().find(|field| field.name == *name);
    let field = field.unwrap_or_else(|| panic!("no '{name}' in {state:?}"));
    match (&field.value, rest) {
        (value, []) => value,
        (Value::Struct(inner), rest) => find(inner, rest),
        (other, _) => panic!("'{name}' is {other:?}"),
    }
}

#[test]
fn every_device_of_every_golden_stream_is_decoded_to_its_last_byte() {
    for (name, devices) in streams() {
        let vmdesc = VmDesc::parse(&devices.vmdesc, 0).unwrap();
        assert_eq!(vmdesc.devices.len(), devices.sections.len(), "{name}");
        for (device, (idstr, ..)) in vmdesc.devices.iter().zip(&devices.sections) {
            assert_eq!(device.name, *idstr, "{name}");
        }
        for (device, (idstr, offset, payload)) in described(&vmdesc, &devices) {
            let state = vmstate::decode(device, payload, *offset)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(covered(&state), payload.len(), "{name}: {idstr}");
        }
    }
}

#[test]
fn a_state_that_is_cut_anywhere_is_refused_and_never_half_decoded() {
    for (name, devices) in streams() {
        let vmdesc = VmDesc::parse(&devices.vmdesc, 0).unwrap();
        for (device, (idstr, offset, payload)) in vmdesc.devices.iter().zip(&devices.sections) {
            // Every byte of the small ones; some of those that are mostly one raw buffer.
            let step = 1 + payload.len() / 512;
            for end in (0..payload.len()).step_by(step) {
                let error = vmstate::decode(device, &payload[..end], *offset)
                    .expect_err("half a state was decoded");
                assert_eq!(
                    error.section.as_ref(),
                    Some(&idstr.clone().into()),
                    "{name}"
                );
                assert!(
                    error.at >= *offset && error.at <= offset + end as u64,
                    "{name}: {error}"
                );
            }
        }
    }
}

#[test]
fn what_is_known_of_a_machine_stands_where_its_name_says() {
    for (name, devices) in streams().into_iter().filter(is_of_pc) {
        let vmdesc = VmDesc::parse(&devices.vmdesc, 0).unwrap();
        let of = |idstr: &str| {
            let mut all = vmdesc.devices.iter().zip(&devices.sections);
            let (device, (_, at, payload)) = all.find(|(device, _)| device.name == idstr).unwrap();
            vmstate::decode(device, payload, *at).unwrap()
        };
        // A machine that waits to begin is halted nowhere, and its processor begins at the reset vector.
        let cpu = of("cpu");
        if ["small.", "vmem", "ignore-shared"]
            .iter()
            .any(|words| name.contains(words))
        {
            assert_eq!(
                find(&of("cpu_common"), &["halted"]),
                &Value::Unsigned(0),
                "{name}"
            );
            assert_eq!(find(&cpu, &["env.eip"]), &Value::Unsigned(0xfff0), "{name}");
        }
        let registers = cpu.fields.iter().filter(|field| field.name == "env.regs");
        assert_eq!(registers.count(), 16, "{name}");
        let timer = of("timer");
        assert!(
            matches!(find(&timer, &["cpu_clock_offset"]), Value::Signed(_)),
            "{name}"
        );
        // The bytes of QEMU's fixed array behind a length of its own.
        let globalstate = of("globalstate");
        let Value::Unsigned(size) = find(&globalstate, &["size"]) else {
            panic!("{name}: {globalstate:?}");
        };
        assert!(*size > 4 && *size < 100, "{name}: {size}");
    }
}

#[test]
fn an_array_of_pointers_is_decoded_where_it_is_described_element_by_element() {
    let streams = streams();
    let of = |name: &str| {
        let (_, devices) = streams.iter().find(|(n, _)| n.starts_with(name)).unwrap();
        let vmdesc = VmDesc::parse(&devices.vmdesc, 0).unwrap();
        let mut all = vmdesc.devices.iter().zip(&devices.sections);
        let (device, (_, at, payload)) = all.find(|(d, _)| d.name == "s390_css").unwrap();
        (device.clone(), *at, payload.clone())
    };
    // 10.0: runs of nulls, and the one channel subsystem that there is.
    let (device, at, payload) = of("10.0-s390x-ccw");
    let state = vmstate::decode(&device, &payload, at).unwrap();
    let css: Vec<_> = state.fields.iter().filter(|f| f.name == "css").collect();
    let nulls = css.iter().filter(|field| field.kind == "nullptr");
    let there = css
        .iter()
        .filter(|field| matches!(field.value, Value::Struct(_)));
    assert_eq!((nulls.count(), there.count(), css.len()), (255, 1, 256));
    // 7.2: one byte for each of them, and the payload is longer.
    let (device, at, payload) = of("7.2-s390x-ccw");
    let described = device.payload_len().unwrap();
    assert!(device.may_be_of_other_length() && described < payload.len() as u64);
    assert!(vmstate::decode(&device, &payload, at).is_err());
}

#[test]
fn virtio_devices_are_taken_apart_to_their_last_byte() {
    let mut seen = 0;
    for (name, devices) in streams() {
        let vmdesc = VmDesc::parse(&devices.vmdesc, 0).unwrap();
        for (device, (idstr, offset, payload)) in described(&vmdesc, &devices) {
            let state = vmstate::decode(device, payload, *offset).unwrap();
            for field in state
                .fields
                .iter()
                .filter(|field| field.kind == virtio::KIND)
            {
                let inner = virtio::decode(field.bytes, field.at)
                    .unwrap_or_else(|error| panic!("{name}: {idstr}: {error}"));
                assert_eq!(covered(&inner), field.bytes.len(), "{name}: {idstr}");
                let pci = find(&inner, &["pci", "version_id"]);
                assert_eq!(pci, &Value::Unsigned(2));
                if !name.contains("vmem") {
                    continue;
                }
                // Its firmware has not run: no driver knows it yet.
                assert_eq!(find(&inner, &["status"]), &Value::Unsigned(0));
                let size = if idstr.ends_with("blk") { 256 } else { 128 };
                assert_eq!(
                    find(&inner, &["queue", "num"]),
                    &Value::Unsigned(size),
                    "{idstr}"
                );
                let subsections = inner.subsections.iter().map(|inner| inner.name);
                let expected = [
                    "virtio/64bit_features",
                    "virtio/virtqueues",
                    "virtio/extra_state",
                    "virtio_pci/modern_state",
                ];
                assert_eq!(subsections.collect::<Vec<_>>(), expected, "{name}: {idstr}");
                let own = inner.fields.last().unwrap();
                for end in 0..own.at - field.at {
                    assert!(virtio::decode(&field.bytes[..end], 0).is_err(), "{end}");
                }
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn kinds_of_fields_of_a_pc_that_are_not_known_are_few() {
    let mut unknown = BTreeSet::new();
    for (_, devices) in streams().into_iter().filter(is_of_pc) {
        let vmdesc = VmDesc::parse(&devices.vmdesc, 0).unwrap();
        for (device, (_, offset, payload)) in described(&vmdesc, &devices) {
            let state = vmstate::decode(device, payload, *offset).unwrap();
            collect(&state, &mut unknown);
        }
    }
    let unknown: Vec<_> = unknown.iter().map(String::as_str).collect();
    assert_eq!(
        unknown,
        [
            "bitmap",
            "buffer",
            "msix state",
            "pci config",
            "pci irq state",
            "scsi-requests",
            "unused_buffer",
            "virtio",
            "virtio-gpu"
        ]
    );
}

fn collect(state: &State<'_>, unknown: &mut BTreeSet<String>) {
    for field in &state.fields {
        match &field.value {
            Value::Bytes => {
                unknown.insert(field.kind.to_owned());
            }
            Value::Struct(state) => collect(state, unknown),
            Value::List(list) => list.iter().for_each(|state| collect(state, unknown)),
            _ => {}
        }
    }
    for state in &state.subsections {
        collect(state, unknown);
    }
}
