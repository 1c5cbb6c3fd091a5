//! What `inspect`, `verify` and `diff` say.

use insta::assert_snapshot;

use crate::place::{Place, stream};

/// A place with golden streams under short names.
fn place_with(streams: &[(&str, &str)]) -> Place {
    let place = Place::new();
    for (name, golden) in streams {
        place.put(name, stream(golden));
    }
    place
}

#[test]
fn one_device_of_a_stream() {
    let mut place = place_with(&[("a", "10.0-q35-vmem"), ("b", "7.2-pc-small")]);
    place
        .run("inspect a --devices")
        .run("inspect a --device i8254")
        .run("inspect a --device 0000:00:1f.3/ich9_smb")
        .run("inspect b --device i8259:1")
        .run("inspect b --device i8259:1 --json");
    assert_snapshot!(place.transcript());
}

#[test]
fn a_device_that_is_not_there() {
    let mut place = place_with(&[("a", "7.2-pc-small")]);
    place.put_golden_store("store");
    place
        .run("inspect a --device i8254:3")
        .run("inspect a --device acpi")
        .run("inspect a --device cpu --json --devices")
        .run("inspect a --raw cpu --json")
        .run("inspect golden --store store --device timer")
        .run("inspect golden --store store --devices")
        .run("inspect golden --store store --devices --json");
    assert_snapshot!(place.transcript());
}

#[test]
fn bytes_as_they_are() {
    let whole = stream("10.0-pc-small");
    let place = place_with(&[("a", "10.0-pc-small")]);
    let raw = |name: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_vmferry"))
            .args(["inspect", "a", "--raw", name])
            .current_dir(place.path("."))
            .output()
            .expect("vmferry runs");
        assert!(output.status.success());
        output.stdout
    };
    // The description is the last of a stream.
    let vmdesc = raw("vmdesc");
    assert!(vmdesc.starts_with(b"{") && whole.ends_with(&vmdesc));
    let pit = raw("i8254");
    assert_eq!(pit.len(), 108);
    assert!(whole.windows(pit.len()).any(|bytes| bytes == pit));
}

#[test]
fn streams_that_are_sound_or_not() {
    let mut place = place_with(&[("a", "10.0-q35-vmem"), ("b", "7.2-pc-small-snapshot")]);
    let whole = stream("10.0-pc-small");
    place.put("cut", &whole[..1000]);
    place.put("longer", [&whole[..], b"\n"].concat());
    // A value of which the description says more than there is.
    let mut changed = whole.clone();
    let at = find(&whole, br#""type": "uint8", "size": 1"#) + 25;
    changed[at] = b'2';
    place.put("described", &changed);
    place.put("text", "hello, world\n");
    place
        .run("verify a")
        .run("verify b")
        .run("verify b --json")
        .run("verify cut")
        .run("verify cut --json")
        .run("verify longer")
        .run("verify described")
        .run("verify text")
        .run("verify none")
        .run("verify ./none")
        .run_with("verify -", &[], &whole);
    assert_snapshot!(place.transcript());
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    let found = bytes.windows(what.len()).position(|window| window == what);
    found.expect("it is in it")
}

#[test]
fn checkpoints_that_are_sound_or_not() {
    let mut place = Place::new();
    place.put_golden_store("store");
    place
        .run("verify golden --store store")
        .run("verify golden --store store --quick")
        .run("verify golden --store store --json");
    for (folder, name) in [("packs", "pack"), ("states", "state"), ("maps", "map")] {
        place.put_golden_store(name);
        let all = std::fs::read_dir(place.path(name).join(folder)).expect("a folder");
        let first = all.map(|entry| entry.expect("an entry").path()).next();
        let first = first.expect("one is there");
        let mut content = std::fs::read(&first).expect("it is readable");
        let middle = content.len() / 2;
        content[middle] ^= 1;
        std::fs::write(&first, content).expect("it is writable");
        place
            .run(&format!("verify golden --store {name}"))
            .run(&format!("verify golden --store {name} --quick"));
    }
    assert_snapshot!(place.transcript());
}

#[test]
fn what_changed_between_two() {
    let mut place = place_with(&[
        ("stopped", "10.0-pc-small"),
        ("snapshot", "10.0-pc-small-snapshot"),
        ("q35", "7.2-q35-small"),
    ]);
    place.put_golden_store("store");
    place
        .run("diff stopped stopped")
        .run("diff stopped snapshot --pages")
        .run("diff snapshot stopped --no-memory --json")
        .run("diff q35 stopped --pages")
        .run("diff golden golden@latest --store store")
        .run("diff golden golden --store store --json")
        .run("diff golden stopped --store store")
        .run("diff stopped ./none")
        .run("diff - -")
        .run_with("diff - stopped", &[], &stream("10.0-pc-small"));
    assert_snapshot!(place.transcript());
}

#[test]
fn pages_that_changed() {
    let whole = stream("10.0-pc-small");
    let place = &mut place_with(&[("a", "10.0-pc-small")]);
    // A page that was sent as it is.
    let mut changed = whole.clone();
    let name = b"\x08\x12/rom@etc/acpi/rsdp";
    let at = find(&whole, name) + name.len() + 100;
    changed[at] ^= 1;
    place.put("b", &changed);
    place.run("diff a b").run("diff a b --pages --json");
    assert_snapshot!(place.transcript());
}
