//! A listing of a stream: every byte of it is in one element, but for the header.

use vmferry::load::{Element, ElementKind};

use super::support::{golden, strict};

/// An element in a few words.
pub(crate) fn words(element: &Element<'_>) -> String {
    match element.kind {
        ElementKind::Configuration => "configuration".into(),
        ElementKind::Section {
            element: kind,
            section_id,
            idstr,
            ..
        } => format!("{kind:?} {section_id} {idstr} {}", element.pages.pages),
        ElementKind::Command(command) => format!("{command:?}"),
        ElementKind::Eof => "Eof".into(),
        ElementKind::VmDesc => "VmDesc".into(),
        _ => "?".into(),
    }
}

#[test]
fn every_element_is_listed_in_order_with_its_place_and_its_pages() {
    let bytes = golden("10.0-pc-small");
    let (seen, summary) = strict(&bytes).unwrap();
    let mut at = 8;
    for (words, offset, length) in &seen.elements {
        assert_eq!(*offset, at, "{words}");
        at += length;
    }
    assert_eq!(at, bytes.len() as u64);
    let words: Vec<_> = seen.elements.iter().map(|(words, ..)| words).collect();
    assert_eq!(
        words[..5],
        [
            "configuration",
            "Start 1 ram 0",
            "Part 1 ram 338",
            "SwitchoverStart",
            "End 1 ram 0"
        ]
    );
    assert_eq!(words[5], "Full 0 timer 0");
    assert_eq!(words[words.len() - 2..], ["Eof", "VmDesc"]);
    assert_eq!(summary.pages, 338);
    assert!(summary.assumptions.is_empty());
}

#[test]
fn an_early_section_is_listed_before_the_first_page() {
    let bytes = golden("10.0-q35-vmem");
    let (seen, _) = strict(&bytes).unwrap();
    let words: Vec<_> = seen.elements.iter().map(|(words, ..)| words).collect();
    assert_eq!(words[2], "Full 37 0000:00:01.0/virtio-mem-device-early 0");
    let lengths = seen.elements.iter().map(|(.., length)| length);
    assert_eq!(8 + lengths.sum::<u64>(), bytes.len() as u64);
}
