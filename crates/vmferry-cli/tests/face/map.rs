//! `vmferry map`: what it says, and that its picture is there whole or not at all.

use insta::assert_snapshot;

use crate::place::{Place, stream};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

#[test]
fn a_picture_of_a_stream_and_of_a_checkpoint() {
    let mut place = Place::new();
    place.put("stream", stream("10.0-q35-small"));
    place.put_golden_store("store");
    place
        .run("map stream -o a.png")
        .run("map stream -o a.png")
        .run("map stream -o a.png --force --json")
        .run("map golden --store store -o b.png --json");
    for name in ["a.png", "b.png"] {
        let picture = std::fs::read(place.path(name)).expect("it is there");
        assert!(picture.starts_with(PNG), "{name}");
    }
    assert_snapshot!(place.transcript());
}

#[test]
fn what_has_changed_between_two_states() {
    let mut place = Place::new();
    place.put("stream", stream("10.0-q35-small"));
    place.put("other", stream("10.0-q35-vmem"));
    place
        .run("map stream --against stream -o same.png")
        .run("map stream --against other --block pc.ram --width 600 -o changed.png");
    assert_snapshot!(place.transcript());
}

#[test]
fn a_picture_that_cannot_be_drawn_leaves_nothing() {
    let whole = stream("10.0-q35-small");
    let mut place = Place::new();
    place.put("stream", &whole);
    place.put("cut", &whole[..50_000]);
    place.put("text", "hello, world\n");
    for words in [
        "map",
        "map stream",
        "map stream -o a.png --width 10",
        "map stream -o a.png --block ram",
        "map stream -o none/a.png",
        "map stream -o /dev/null --force",
        "map stream -o a.png --against text",
        "map cut -o a.png",
        "map text -o a.png",
        "map none@latest -o a.png",
    ] {
        place.run(words);
    }
    let mut names: Vec<_> = std::fs::read_dir(place.path("."))
        .expect("it is a folder")
        .map(|entry| entry.expect("it is readable").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["cut", "stream", "text"]);
    assert_snapshot!(place.transcript());
}
