//! Device sections over bytes: where they end, and what is made of a wrong footer.

use super::*;
use crate::load::Nesting;
use crate::load::source::Input;
use crate::load::test_bytes;
use crate::load::test_log::Log;
use crate::wire::Source as _;

/// A device section after its type byte.
fn device(id: u32, idstr: &str, payload: &[u8]) -> Vec<u8> {
    test_bytes::device(id, idstr, payload).split_off(1)
}

/// Reads one section, and returns what comes after it and what was shown.
fn read(sections: &mut Sections, mode: Mode, bytes: &[u8]) -> (Result<usize, String>, Vec<String>) {
    let mut log = Log::default();
    let mut report = Report::new(&mut log, mode);
    let mut source = Input(SliceSource::at(bytes, 1));
    let start = report.begin(0, Nesting::Stream);
    let read = sections.device(&mut report, &mut source, start, Phase::Device);
    let left = read.map(|()| source.rest().len());
    (left.map_err(|error| error.to_string()), log.events)
}

fn with_footers() -> Sections {
    let mut sections = Sections::default();
    sections.expect_footers();
    sections
}

fn vmdesc(name: &str, size: usize) -> VmDesc {
    let json = format!(
        r#"{{"devices": [{{"name": "{name}", "instance_id": 0, "version": 1,
            "fields": [{{"name": "a", "type": "buffer", "size": {size}}}]}}]}}"#
    );
    VmDesc::parse(json.as_bytes(), 0).unwrap()
}

#[test]
fn a_section_ends_at_its_own_footer_before_something_that_can_follow() {
    // What looks like a footer is of another section, or before no element.
    let payload = b"\x7e\0\0\0\x09\x04\x7e\0\0\0\x02\x55";
    let bytes = [device(2, "timer", payload), b"\0\x06".to_vec()].concat();
    let mut sections = with_footers();
    let (left, shown) = read(&mut sections, Mode::Strict, &bytes);
    assert_eq!(left, Ok(2));
    let says = format!("device timer Device Footer {payload:02x?}");
    let element = format!("element Full timer at 0 of {} bytes", bytes.len() - 1);
    assert_eq!(shown[0], says);
    assert!(shown[1].starts_with(&element), "{shown:?}");
    assert_eq!(sections.devices(), 1);
}

#[test]
fn a_length_from_the_description_is_believed_over_any_footer() {
    let payload = b"\x7e\0\0\0\x02\0\x06";
    let bytes = device(2, "timer", payload);
    let mut sections = with_footers();
    sections.set_lengths(vec![Length {
        bytes: payload.len(),
        split: Split::Vmdesc,
    }]);
    let (left, shown) = read(&mut sections, Mode::Strict, &bytes);
    assert_eq!(left, Ok(0));
    assert!(
        shown[0].starts_with("device timer Device Vmdesc"),
        "{shown:?}"
    );
    // The next one has none.
    let (_, shown) = read(&mut sections, Mode::Strict, &bytes);
    assert!(
        shown[0].starts_with("device timer Device Footer []"),
        "{shown:?}"
    );
}

#[test]
fn a_section_that_is_cut_anywhere_is_an_error() {
    let bytes = device(2, "timer", b"payload");
    for end in 0..bytes.len() {
        let (left, _) = read(&mut with_footers(), Mode::Strict, &bytes[..end]);
        let error = left.unwrap_err();
        assert!(error.contains("ends inside"), "{end}: {error}");
    }
}

#[test]
fn without_footers_and_description_nobody_knows_where_a_section_ends() {
    let mut sections = Sections::default();
    let mut log = Log::default();
    let mut report = Report::new(&mut log, Mode::Strict);
    // A piece of the RAM that no footer follows.
    let mut source = Input(SliceSource::new(b"\x03"));
    sections.footer(&mut report, &mut source, 1, "ram").unwrap();
    assert!(!sections.may_have_footers());
    assert_eq!(source.position(), 0);
    let (left, _) = read(&mut sections, Mode::Strict, &device(2, "timer", b"payload"));
    let error = left.unwrap_err();
    assert!(
        error.contains("neither footers nor a description"),
        "{error}"
    );
}

#[test]
fn a_wrong_footer_is_read_in_a_rescue_where_an_element_follows() {
    let timer = &[&[4][..], &device(2, "timer", b"")].concat()[..];
    let wrong = section::footer(9);
    for (bytes, taken) in [
        ([&wrong[..], timer].concat(), Some(FOOTER_LEN)),
        // It is missing.
        (timer.to_vec(), Some(0)),
        ([&wrong[..], b"junk"].concat(), None),
    ] {
        let mut sections = with_footers();
        let mut log = Log::default();
        let mut footer = |mode| {
            let mut source = Input(SliceSource::new(&bytes));
            let mut report = Report::new(&mut log, mode);
            let read = sections.footer(&mut report, &mut source, 3, "ram");
            read.ok().map(|()| bytes.len() - source.rest().len())
        };
        assert_eq!(footer(Mode::Strict), None);
        assert_eq!(footer(Mode::Rescue), taken);
        assert_eq!(log.events.len(), usize::from(taken.is_some()));
    }
}

#[test]
fn guesses_are_held_against_the_description_afterwards() {
    let mut sections = with_footers();
    let (left, _) = read(&mut sections, Mode::Strict, &device(2, "timer", b"payload"));
    left.unwrap();
    assert_eq!(sections.check_guesses(&vmdesc("timer", 7), 99), Ok(()));
    for (name, size) in [("timer", 8), ("cpu", 7)] {
        let error = sections.check_guesses(&vmdesc(name, size), 99).unwrap_err();
        assert_eq!((error.at, error.section.as_deref()), (0, Some("timer")));
    }
    let (left, _) = read(&mut sections, Mode::Strict, &device(2, "timer", b"payload"));
    left.unwrap();
    let error = sections.check_guesses(&vmdesc("timer", 7), 99).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected 2 as in the stream, found 1 described")
    );
}

#[test]
fn a_description_gives_the_lengths_if_it_leads_to_the_end() {
    let mut sections = with_footers();
    let elements = [&[4][..], &device(2, "timer", b"payload"), &[0]].concat();
    let lengths = |sections: &Sections, size| {
        let vmdesc = vmdesc("timer", size);
        sections.described_lengths(&elements, 0, &vmdesc, Mode::Strict)
    };
    let Ok(Lengths::Described(described)) = lengths(&sections, 7) else {
        panic!("a length expected");
    };
    assert!(matches!(
        described[..],
        [Length {
            bytes: 7,
            split: Split::Vmdesc
        }]
    ));
    for size in [6, 8, 1 << 20] {
        assert!(lengths(&sections, size).is_err(), "{size}");
    }
    // Sections that were guessed before are the first in a description.
    read(&mut sections, Mode::Strict, &device(1, "early", b""))
        .0
        .unwrap();
    assert!(lengths(&sections, 7).is_err());
}

#[test]
fn other_elements_among_the_devices_leave_lengths_unknown_and_a_device_too_many_is_an_error() {
    let sections = with_footers();
    let timer = [&[4][..], &device(2, "timer", b"payload")].concat();
    let lengths = |elements: &[u8]| {
        let vmdesc = vmdesc("timer", 7);
        sections.described_lengths(elements, 50, &vmdesc, Mode::Strict)
    };
    let start = [&[ElementType::Start as u8], &timer[1..], &[0]].concat();
    assert!(matches!(lengths(&start), Ok(Lengths::Unknown)));
    for (elements, says) in [
        (vec![0], "'timer' missing in the stream"),
        (
            [&timer[..], &timer, &[0]].concat(),
            "instance 0 in the stream",
        ),
        ([&timer[..], &[0, 0]].concat(), "1 bytes more"),
    ] {
        let error = lengths(&elements).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
