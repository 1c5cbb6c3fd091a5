//! What a person sees of `vmferry convert`.

use std::fs;

use insta::assert_snapshot;

use crate::place::{Place, stream};

#[test]
fn a_machine_goes_from_form_to_form_and_comes_back() {
    let mut place = Place::new();
    let original = stream("10.0-q35-small");
    place.put("stream", &original);
    place.put("xml", "<domain><name>web</name></domain>");
    place
        .run("convert ./stream --to mapped-ram -o mapped")
        .run("convert ./mapped --to libvirt --xml xml -o image --image-format zstd")
        .run("convert ./image --to libvirt -o sparse --image-format sparse --json")
        .run("convert ./sparse --to stream -o back")
        .run("convert ./stream --to stream -o again");
    assert_snapshot!(place.transcript());
    let read = |name: &str| fs::read(place.path(name)).expect("it was written");
    // A machine that came without any of its pages in it has them all now: as zeros.
    assert_eq!(read("image")[..16], *b"LibvirtQemudSave");
    assert!(read("back").starts_with(b"QEVM"));
    assert_eq!(read("again").len(), read("back").len());
}

#[test]
fn a_checkpoint_is_made_of_a_file_and_a_file_of_a_checkpoint() {
    let mut place = Place::new();
    place.put("stream", stream("7.2-pc-small"));
    place.run("--store store convert ./stream --to checkpoint");
    let name = place.output("--store store convert ./stream --to checkpoint web");
    let name = String::from_utf8(name).expect("a name is text");
    assert!(name.starts_with("web@"), "{name}");
    place
        .run("--store store convert web --to stream -o out")
        .run("--store store convert web --to libvirt -o image");
    assert_snapshot!(place.transcript().replace(name.trim_end(), "web@ID"));
    assert!(
        fs::read(place.path("out"))
            .expect("it was written")
            .starts_with(b"QEVM")
    );
}

#[test]
fn conversions_that_make_no_sense() {
    let mut place = Place::new();
    place.put("stream", stream("10.0-q35-small"));
    place.put("out", "something else");
    for words in [
        "convert ./stream --to stream",
        "convert ./stream web --to stream -o a",
        "convert ./stream --to stream -o out",
        "convert ./stream --to mapped-ram -o -",
        "convert ./stream --to stream -o - --json",
        "convert ./stream --to checkpoint -o a",
        "convert ./stream --to stream -o a --xml xml",
        "convert ./stream --to libvirt -o a",
        "convert ./stream --to libvirt -o a --xml stream",
        "convert file:stream,snapshot=s --to stream -o a",
        "convert file:stream,at=1 --to stream -o a",
        "convert ./out --to stream -o a",
    ] {
        place.run(words);
    }
    assert_snapshot!(place.transcript());
    assert_eq!(
        fs::read(place.path("out")).expect("it is there"),
        b"something else"
    );
    assert!(!place.path("a").exists());
}
