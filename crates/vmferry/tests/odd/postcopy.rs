//! Streams of guests that moved before their pages, as real QEMUs sent them.

use vmferry::load::Mode;
use vmferry::machine::Split;

use super::support::{find, golden, read, rescue, strict};

#[test]
fn a_guest_that_moved_before_its_pages_is_read_to_the_last_byte() {
    for (name, plain, section) in [
        ("7.2-pc-small-postcopy", "7.2-pc-small", 2),
        ("10.0-pc-small-postcopy", "10.0-pc-small", 1),
    ] {
        let bytes = golden(name);
        let (seen, summary) = strict(&bytes).expect("QEMU sent it");
        assert_eq!(summary.bytes, bytes.len() as u64);
        assert!(summary.switched_to_postcopy && !seen.vmdesc, "{name}");
        assert!(summary.assumptions.is_empty(), "{:?}", summary.assumptions);
        assert!(
            seen.devices
                .iter()
                .all(|(_, split, _)| *split == Split::Footer)
        );
        // The same machine, stopped at its beginning: the same devices, and the same memory.
        let (other, _) = strict(&golden(plain)).expect("QEMU sent it");
        assert_eq!(seen.device_names(), other.device_names(), "{name}");
        assert_eq!(seen.blocks, other.blocks);
        // Their firmware is not the same.
        let differ = seen.memory().into_iter().filter(|(place, content)| {
            let name = &seen.blocks.as_slice()[place.0].idstr;
            name != "pc.bios" && other.memory()[place] != *content
        });
        assert_eq!(differ.count(), 0, "{name}");
        assert_eq!(seen.memory().len(), other.memory().len());

        let words: Vec<_> = seen
            .elements
            .iter()
            .map(|(words, ..)| words.as_str())
            .collect();
        let place = |what: &str| {
            let found = words.iter().position(|words| words.starts_with(what));
            found.unwrap_or_else(|| panic!("{name}: no {what} in {words:?}"))
        };
        let order = [
            "OpenReturnPath",
            "PostcopyAdvise",
            "Start",
            "PostcopyRamDiscard",
            "Packaged",
            "PostcopyListen",
            "Full",
            "PostcopyRun",
            "Eof",
        ];
        let places: Vec<_> = order.iter().map(|what| place(what)).collect();
        assert!(places.is_sorted(), "{name}: {words:?}");
        let behind = &words[place("PostcopyRun")..];
        let pages = behind
            .iter()
            .filter(|words| words.starts_with(&format!("Part {section} ram")));
        assert!(pages.count() > 0, "{name}: {behind:?}");
    }
}

#[test]
fn one_that_is_cut_anywhere_is_an_error_and_what_stands_before_the_cut_is_rescued() {
    let bytes = golden("7.2-pc-small-postcopy");
    let (whole, _) = strict(&bytes).expect("QEMU sent it");
    let package = find(&bytes, b"\x08\0\x07\0\x04");
    let all = (0..0x200).chain(package - 64..package + 400);
    let ends = all.chain((0x200..bytes.len()).step_by(61));
    for end in ends {
        let error = strict(&bytes[..end]).map(drop).expect_err("it is cut");
        assert!(error.contains("ends inside"), "{end}: {error}");
        if end < 0x1b {
            continue;
        }
        let (seen, _) = rescue(&bytes[..end]);
        let count = seen.devices.len();
        assert_eq!(seen.devices[..], whole.devices[..count], "{end}");
        let count = seen.pages.len();
        assert!(seen.pages[..] == whole.pages[..count], "{end}");
    }
}

#[test]
fn commands_out_of_order_are_refused_in_qemus_words_and_rescued() {
    let bytes = golden("7.2-pc-small-postcopy");
    // Without ADVISE, and with its discards outside of the block.
    let advise = find(&bytes, b"\x08\0\x03\0\x10");
    let mut damaged = bytes.clone();
    damaged.drain(advise..advise + 21);
    let error = read(&damaged, Mode::Strict)
        .map(drop)
        .expect_err("it is out of order");
    assert!(
        error.contains("RAM_DISCARD in wrong postcopy state (0)"),
        "{error}"
    );
    let (seen, summary) = rescue(&damaged);
    let (whole, _) = strict(&bytes).expect("QEMU sent it");
    assert_eq!((seen.pages, seen.devices), (whole.pages, whole.devices));
    assert!(!summary.assumptions.is_empty());

    let discard = find(&bytes, b"\x08\0\x06\0");
    let mut outside = bytes;
    let range = discard + 5 + 2 + usize::from(outside[discard + 6]) + 1;
    outside[range + 2] = 0x77;
    let error = read(&outside, Mode::Strict)
        .map(drop)
        .expect_err("it would kill QEMU");
    assert!(error.contains("ranges within the block"), "{error}");
    rescue(&outside);
}
