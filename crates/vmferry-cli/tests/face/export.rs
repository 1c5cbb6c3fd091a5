//! What a person sees of `vmferry export`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use insta::assert_snapshot;

use crate::place::{Place, stream};

#[test]
fn an_export_says_what_it_wrote_and_how_it_found_the_addresses() {
    let mut place = Place::new();
    place.put("stream", stream("10.0-q35-small"));
    place.put("vmem", stream("10.0-q35-vmem"));
    place
        .run("export ./stream --format raw -o raw")
        .run("export ./stream --format lime -o lime")
        .run("export ./stream --format elf -o elf")
        .run("export ./stream --format elf -o elf.json --json")
        .run("export ./stream --format blocks -o blocks")
        .run("export ./vmem --format elf -o vmem.elf");
    assert_snapshot!(place.transcript());
    assert_eq!(fs::metadata(place.path("raw")).unwrap().len(), 1 << 20);
    let elf = fs::metadata(place.path("elf")).unwrap();
    // Who may read it may read all of a machine's secrets.
    assert_eq!(elf.permissions().mode() & 0o777, 0o600);
    let vmem = fs::metadata(place.path("vmem.elf")).unwrap();
    assert!(
        vmem.len() > 256 << 20 && vmem.blocks() * 512 < 1 << 20,
        "{vmem:?}"
    );
}

#[test]
fn what_is_there_is_replaced_only_by_force() {
    let mut place = Place::new();
    place.put("stream", stream("10.0-q35-small"));
    place.put("out", "something else");
    place.put("folder/file", "something else");
    place
        .run("export ./stream --format raw -o out")
        .run("export ./stream --format raw -o folder --force")
        .run("export ./stream --format blocks -o out --force")
        .run("export ./stream --format blocks -o folder")
        .run("export ./stream --format raw -o nowhere/out")
        .run("export ./stream --format raw -o ..")
        .run("export ./stream --format raw -o out --force --json")
        .run("export ./stream --format blocks -o folder --force");
    assert_snapshot!(place.transcript());
    assert!(!place.path("folder/file").exists());
    assert_eq!(fs::metadata(place.path("out")).unwrap().len(), 1 << 20);
}

#[test]
fn a_layout_that_is_not_known_can_be_said() {
    let mut place = Place::new();
    place.put("stream", stream("10.0-q35-small"));
    place
        .run("export ./stream --format raw -o a --below-4g 512K --json")
        .run("export ./stream --format raw -o b --below-4g 1000")
        .run("export ./stream --format raw -o b --below-4g much")
        .run("export ./stream --format raw -o b --ram mem0,mem1")
        .run("export ./stream --format raw -o b --place pc.rom@0xc0000")
        .run("export ./stream --format raw -o b --place pc.rom")
        .run("export ./stream --format lime -o c --place pc.rom@1M");
    assert_snapshot!(place.transcript());
    assert!(!place.path("b").exists());
}

#[test]
fn a_pipe_gets_the_same_bytes_as_a_file() {
    let mut place = Place::new();
    place.put("stream", stream("7.2-q35-small"));
    place
        .run("export ./stream --format blocks -o -")
        .run("export ./stream --format raw -o - --json");
    assert_snapshot!(place.transcript());
    for format in ["raw", "elf", "lime"] {
        place.run(&format!(
            "export ./stream --format {format} -o file --force"
        ));
        let piped = place.output(&format!("export ./stream --format {format} -o -"));
        assert!(fs::read(place.path("file")).unwrap() == piped, "{format}");
    }
}

#[test]
fn nothing_is_written_of_a_state_that_is_damaged() {
    let whole = stream("10.0-q35-small");
    let mut place = Place::new();
    place.put("text", "hello, world\n");
    place.put("short", &whole[..100_000]);
    place.put("without-devices", &whole[..whole.len() - 20_000]);
    for what in [
        "text",
        "short",
        "without-devices",
        "none@latest",
        "./none",
        "/",
    ] {
        place.run(&format!("export {what} --format raw -o out --store none"));
    }
    assert_snapshot!(place.transcript());
    assert!(!place.path("out").exists());
    let left = fs::read_dir(place.path(".")).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("partial")
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn what_is_left_of_a_damaged_file_is_had_by_rescue() {
    let whole = stream("10.0-q35-small");
    let mut place = Place::new();
    place.put("text", "hello, world\n");
    place.put("cut", &whole[..whole.len() - 20_000]);
    place
        .run("export cut --format raw -o ram --rescue")
        .run("export text --format raw -o ram --rescue --force")
        .run("map cut -o ram.png --rescue --progress none")
        .run("report cut -o page.html --rescue --progress none")
        .run("diff cut cut --rescue --progress none");
    assert_snapshot!(place.transcript());
    // It says on the page itself what it was made of.
    let page = fs::read_to_string(place.path("page.html")).unwrap();
    assert!(page.contains("rescued from a damaged file: "));
}

#[test]
fn memory_that_was_left_out_of_a_checkpoint_is_said_to_be_missing() {
    let mut place = Place::new();
    place.put_golden_store("store");
    place
        .run("export golden --format raw -o out --store store")
        .run("export golden --format blocks -o blocks --store store");
    assert_snapshot!(place.transcript());
}

#[test]
fn an_export_without_a_description_of_the_devices_has_no_registers() {
    // A stream that ends behind its devices, as those of old machine types do.
    let whole = stream("10.0-q35-small");
    let json = whole
        .windows(11)
        .rposition(|window| window == b"{\"configura")
        .unwrap();
    let mut place = Place::new();
    place.put("old", &whole[..json - 5]);
    place.run("export ./old --format elf -o out");
    assert_snapshot!(place.transcript());
}
