//! Where a stream ends: where QEMU ends it, whatever comes after.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use vmferry::container;
use vmferry::index::Index;
use vmferry::load::{AssumptionKind, Mode, VmDescRule};
use vmferry::ram::PageSource;

use super::hostile::machine;
use super::support::{Seen, find, golden, read, rescue, strict};

/// Streams of every shape that ends: with a description, without one, and of a machine that moved before its pages.
const SHAPES: [&str; 6] = [
    "10.0-pc-small.stream",
    "7.2-pc-small-snapshot.stream",
    "7.2-q35-small.stream",
    "10.0-q35-suppress-vmdesc.stream",
    "7.2-pc-2.3.stream",
    "10.0-pc-small-postcopy.stream",
];

/// Any stream of `testdata`.
fn shape(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let file = File::open(folder.join(format!("{name}.zst"))).expect(name);
    zstd::decode_all(file).expect("a golden stream is a zstd frame")
}

fn noise(len: usize) -> Vec<u8> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Whether it is the same machine, and the only thing to be said is how much was not looked at.
fn assert_same(what: &str, whole: &Seen, seen: Seen, after: usize, end: u64) {
    let bytes = after as u64;
    let last = seen
        .assumptions
        .last()
        .unwrap_or_else(|| panic!("{what}: it is noted"));
    assert_eq!(last.kind, AssumptionKind::Trailing { bytes }, "{what}");
    assert_eq!(last.at, end, "{what}");
    assert!(!last.kind.is_damage());
    let mut seen = seen;
    seen.assumptions.pop();
    assert!(seen == *whole, "{what}: {:?}", seen.assumptions);
}

#[test]
fn a_stream_ends_at_its_end_and_what_comes_after_is_noted() {
    for name in SHAPES {
        let bytes = shape(name);
        let (whole, summary) = strict(&bytes).expect("QEMU takes it");
        let end = bytes.len() as u64;
        assert_eq!(summary.bytes, end);
        let older = shape("10.0-q35-many.stream");
        let devices = find(&older, b"\x04\0\0\0\0\x05timer");
        let afters = [
            ("one zero", vec![0]),
            ("zeros up to a sector", vec![0; 512 - bytes.len() % 512]),
            ("zeros", vec![0; 1 << 20]),
            ("noise", noise(100_000)),
            ("the same stream", bytes.clone()),
            (
                "the end of an older, longer one",
                older[older.len() / 2..].to_vec(),
            ),
            (
                "the devices of an older, longer one",
                older[devices..].to_vec(),
            ),
            ("what ends as a text does", b"{\0\x06garbage}".to_vec()),
        ];
        for (what, after) in afters {
            let what = format!("{name} with {what}");
            let longer = [&bytes[..], &after].concat();
            let (seen, summary) = strict(&longer).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_same(&what, &whole, seen, after.len(), end);
            assert_eq!(summary.bytes, end, "{what}");
            let (seen, summary) = rescue(&longer);
            assert_same(&format!("{what}, rescued"), &whole, seen, after.len(), end);
            assert_eq!(summary.bytes, end, "{what}");
        }
    }
}

#[test]
fn damage_is_found_and_named_also_where_an_older_stream_comes_after() {
    let bytes = golden("10.0-pc-small");
    let older = golden("10.0-q35-many");
    // The length of a device that the description tells is wrong, a device's footer, and the text itself.
    let json = find(&bytes, b"{\"configuration\"");
    let size = json + find(&bytes[json..], b"\"size\": 8");
    let footer = find(&bytes, b"\x7e\0\0\0\0\x04") + 4;
    for (at, byte, says) in [
        (size + 8, b'9', "a section footer"),
        (footer, 0x77, "a section footer"),
        (json, b'[', "the description of the devices (vmdesc)"),
    ] {
        let mut damaged = bytes.clone();
        damaged[at] = byte;
        let alone = strict(&damaged).map(drop).unwrap_err();
        assert!(alone.contains(says), "{alone}");
        for after in [&[0; 4096][..], &noise(4096), &older] {
            let longer = [&damaged[..], after].concat();
            let Err(error) = strict(&longer) else {
                panic!(
                    "byte {at:#x} is damaged, and {} bytes come after",
                    after.len()
                );
            };
            assert!(error.contains(says), "{error}");
            // A rescue gives no less than without it.
            let ((seen, _), (before, _)) = (rescue(&longer), rescue(&damaged));
            assert_eq!(seen.pages, before.pages);
            assert!(
                seen.devices.len() >= before.devices.len(),
                "{:?}",
                seen.assumptions
            );
        }
    }
}

#[test]
fn what_a_guest_writes_into_a_device_does_not_end_its_stream() {
    let head = machine();
    let vmdesc = |size: usize| {
        let json = format!(
            r#"{{"devices":[{{"name":"disk","instance_id":0,"version":1,"fields":[{{"name":"buffer","size":{size}}}]}}]}}"#
        );
        let len = u32::try_from(json.len()).unwrap();
        [&[0, 6][..], &len.to_be_bytes(), json.as_bytes()].concat()
    };
    // Its own footer, the end, and a description of what comes before.
    let buffer = [&b"12345678\x7e\0\0\0\x09"[..], &vmdesc(8)].concat();
    let device = b"\x04\0\0\0\x09\x04disk\0\0\0\0\0\0\0\x01";
    let stream = [
        &head[..],
        &device[..],
        &buffer,
        b"\x7e\0\0\0\x09",
        &vmdesc(buffer.len()),
    ]
    .concat();
    for mode in [Mode::Strict, Mode::Rescue] {
        let (seen, summary) = read(&stream, mode).expect("QEMU takes it");
        assert_eq!(summary.bytes, stream.len() as u64);
        assert!(seen.assumptions.is_empty(), "{:?}", seen.assumptions);
    }
    // With something after the end nobody can tell without knowing the device.
    let longer = [&stream[..], &[0; 100]].concat();
    let error = strict(&longer).map(drop).unwrap_err();
    assert!(
        error.contains("only one to which the devices lead"),
        "{error}"
    );
    let (_, summary) = rescue(&longer);
    assert_eq!(summary.bytes, stream.len() as u64);
}

#[test]
fn a_description_that_is_required_is_missed_whatever_comes_instead() {
    use vmferry::load::{Image, Options, load};
    use vmferry::wire::SliceSource;
    let bytes = shape("10.0-q35-suppress-vmdesc.stream");
    for after in [&[][..], &[0; 4096], &noise(100)] {
        let longer = [&bytes[..], after].concat();
        let mut source = SliceSource::new(&longer);
        let error = load(&mut source, &mut Image::default(), &Options::default()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("the description of the devices (vmdesc)"),
            "{error}"
        );
    }
}

#[test]
fn a_volume_far_larger_than_its_stream_is_not_read() {
    const VOLUME: u64 = 1 << 42;
    for name in [
        "10.0-pc-small.stream",
        "10.0-q35-suppress-vmdesc.stream",
        "10.0-pc-small-postcopy.stream",
        "10.0-q35-mapped.mapped",
    ] {
        let bytes = shape(name);
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&bytes).expect("it has room");
        let whole = file.metadata().expect("it is there").len();
        file.set_len(VOLUME).expect("holes take no room");
        let opened = container::open(file, 0).expect("a stream");
        let index = Index::open(opened, VmDescRule::Optional).expect(name);
        let summary = index.summary();
        let [.., last] = summary.assumptions.as_slice() else {
            panic!("{name}: it is noted");
        };
        let bytes = VOLUME - whole;
        assert_eq!(last.kind, AssumptionKind::Trailing { bytes }, "{name}");
        assert_eq!((summary.bytes, last.at), (whole, whole), "{name}");
        assert!(index.blocks().len() > 3);
    }
}

#[test]
fn a_mapped_ram_file_that_is_rounded_up_is_whole() {
    for name in ["10.0-q35-mapped.mapped", "10.0-q35-mapped-live.mapped"] {
        let bytes = shape(name);
        let rounded = bytes.len().next_multiple_of(512);
        let after = rounded - bytes.len();
        assert!(after > 0, "it happens to be one sector");
        let longer = [&bytes[..], &vec![0; after]].concat();
        for mode in [Mode::Strict, Mode::Rescue] {
            let (whole, _) = read(&bytes, mode).expect("QEMU takes it");
            let (seen, _) = read(&longer, mode).expect("QEMU takes it");
            assert_same(name, &whole, seen, after, bytes.len() as u64);
        }
    }
}
