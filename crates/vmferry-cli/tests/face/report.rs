//! `vmferry report`: what it says, and that its page is there whole or not at all.
//!
//! What a browser makes of the page is tested in `tests/tests/report_page.rs`.

use insta::assert_snapshot;

use crate::place::{Place, stream};

#[test]
fn a_page_about_a_stream_and_about_a_checkpoint() {
    let mut place = Place::new();
    place.put("stream", stream("10.0-q35-small"));
    place.put_golden_store("store");
    place
        .run("report stream -o a.html")
        .run("report stream -o a.html")
        .run("report stream -o a.html --force --json")
        .run("report golden --store store -o b.html");
    for name in ["a.html", "b.html"] {
        let page = std::fs::read_to_string(place.path(name)).expect("it is there");
        assert!(page.starts_with("<!doctype html>\n"), "{name}");
        assert!(page.ends_with("</html>\n"), "{name}");
    }
    assert_snapshot!(place.transcript());
}

#[test]
fn a_page_that_cannot_be_made_leaves_nothing() {
    let whole = stream("10.0-q35-small");
    let mut place = Place::new();
    place.put("stream", &whole);
    place.put("cut", &whole[..50_000]);
    for words in [
        "report stream",
        "report stream -o none/a.html",
        "report stream -o / --force",
        "report stream -o a.html --against none",
        "report cut -o a.html",
        "report none -o a.html",
    ] {
        place.run(words);
    }
    let entries = std::fs::read_dir(place.path(".")).expect("it is a folder");
    assert_eq!(entries.count(), 2);
    assert_snapshot!(place.transcript());
}

#[test]
fn names_in_a_state_are_text_whatever_they_are() {
    // Each as long as the name that it takes the place of, so that the stream stays one.
    let names = [
        ("mc146818rtc", "</script>&x"),
        ("0000:00:1f.2/ich9_ahci", "<svg onload=hacked=1>x"),
        ("/rom@etc/acpi/tables", "<svg onload=hack=1>'"),
        ("cmos_data", "</script>"),
    ];
    let mut bytes = stream("10.0-q35-small");
    for (name, hostile) in names {
        assert_eq!(name.len(), hostile.len());
        let places: Vec<_> = bytes
            .windows(name.len())
            .enumerate()
            .filter(|(_, window)| *window == name.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "{name}");
        for at in places {
            bytes[at..at + name.len()].copy_from_slice(hostile.as_bytes());
        }
    }
    let mut place = Place::new();
    place.put("<b>'\"&.state", &bytes);
    place.run("report ./<b>'\"&.state -o a.html");
    let page = std::fs::read_to_string(place.path("a.html")).expect("it is there");
    for (_, hostile) in names {
        // Its own scripts are ended, each once, by nobody else.
        if hostile != "</script>" {
            assert!(!page.contains(hostile), "{hostile}");
        }
    }
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("<b>'"));
    assert!(page.contains("./&lt;b&gt;&#39;&quot;&amp;.state"));
    assert!(page.contains("&lt;svg onload=hacked=1&gt;x"));
    assert!(page.contains("\\u003csvg onload=hacked=1\\u003ex"));
}
