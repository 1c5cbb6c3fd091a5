//! Damage: strictly an error, and otherwise as little lost as can be.

use vmferry::load::{AssumptionKind, Mode};
use vmferry::machine::Split;
use vmferry::wire::ram::EOS_RECORD;

use super::support::{PAGE, Seen, find, golden, hash, read, rescue, strict};

/// A stream of which no page is zero: the pages of a golden one would hardly be missed.
fn with_pages() -> (Vec<u8>, Seen) {
    let bytes = golden("10.0-pc-small");
    let (seen, _) = strict(&bytes).expect("QEMU takes it");
    (bytes, seen)
}

fn is_beginning_of<T: PartialEq + std::fmt::Debug>(part: &[T], whole: &[T]) {
    assert!(part.len() <= whole.len());
    for (part, whole) in part.iter().zip(whole) {
        assert_eq!(part, whole);
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_gives_what_stands_before_the_cut() {
    let (bytes, whole) = with_pages();
    let (mut pages, mut devices) = (0, 0);
    // Every byte of the head and of some devices; of the rest, some.
    let head = 0x1b_u32..0x300;
    let ends = head.chain((0x300..u32::try_from(bytes.len()).unwrap()).step_by(97));
    for end in ends.map(|end| end as usize) {
        let (seen, summary) = rescue(&bytes[..end]);
        is_beginning_of(&seen.pages, &whole.pages);
        let names = seen.device_names();
        is_beginning_of(&names, &whole.device_names());
        for ((_, _, ours), (_, _, theirs)) in seen.devices.iter().zip(&whole.devices) {
            assert_eq!(ours, theirs);
        }
        assert!(
            seen.pages.len() >= pages && seen.devices.len() >= devices,
            "{end}"
        );
        (pages, devices) = (seen.pages.len(), seen.devices.len());
        assert!(summary.bytes <= end as u64);
        // Where nothing at all is missing but the end, nothing need be said.
        let said = seen.assumed().into_iter().any(|kind| {
            matches!(
                kind,
                AssumptionKind::Cut { .. } | AssumptionKind::Guessed { .. }
            )
        });
        assert!(
            said || bytes[..end].ends_with(&[0x7e, 0, 0, 0, 0x27, 0]),
            "{end}"
        );
    }
    assert_eq!(pages, whole.pages.len());
    assert_eq!(devices, whole.devices.len());
}

#[test]
fn what_is_no_stream_is_not_rescued() {
    for bytes in [&b""[..], b"QEV", b"LibvirtQemudSave", b"QEVM\0\0\0\x02"] {
        assert!(read(bytes, Mode::Rescue).is_err());
    }
}

#[test]
fn a_damaged_record_costs_one_page_and_no_other() {
    let (bytes, whole) = with_pages();
    // The word of the second page: PAGE, CONTINUE at 0x1000.
    let at = find(&bytes, &0x1028_u64.to_be_bytes());
    for word in [0xffff_ffff_ffff_ffff_u64, 0x1c28, 0x1000, 0x1040] {
        let mut damaged = bytes.clone();
        damaged[at..at + 8].copy_from_slice(&word.to_be_bytes());
        strict(&damaged).map(drop).unwrap_err();
        let (seen, _) = rescue(&damaged);
        assert_eq!(seen.pages.len(), whole.pages.len() - 1, "{word:#x}");
        let lost = (whole.pages[1].0, whole.pages[1].1);
        let memory = seen.memory();
        for (place, content) in whole.memory() {
            assert!(
                place == lost || memory[&place] == content,
                "{word:#x}: {place:?}"
            );
        }
        assert_eq!(seen.device_names(), whole.device_names());
        assert!(
            seen.devices
                .iter()
                .all(|(_, split, _)| *split == Split::Vmdesc)
        );
        let [AssumptionKind::Skipped { bytes, .. }] = seen.assumed()[..] else {
            panic!("{:?}", seen.assumed());
        };
        // The page, but for what was taken for the name of a block.
        assert!(
            PAGE as u64 - 256 < *bytes && *bytes <= PAGE as u64,
            "{bytes}"
        );
    }
}

#[test]
fn a_page_that_belongs_nowhere_is_dropped_alone() {
    let (bytes, whole) = with_pages();
    let mut damaged = bytes.clone();
    // Beyond the block.
    let at = find(&bytes, &0x1028_u64.to_be_bytes());
    damaged[at + 3] = 0x77;
    assert!(strict(&damaged).unwrap_err().contains("illegal RAM offset"));
    let (seen, _) = rescue(&damaged);
    assert_eq!(seen.pages.len(), whole.pages.len() - 1);
    assert!(matches!(
        seen.assumed()[..],
        [AssumptionKind::PageDropped { .. }]
    ));

    // In a block that is not there: so are those that go on with it.
    let at = find(&bytes, b"\0\0\0\0\0\0\0\x02\x06pc.ram") + 9;
    let mut damaged = bytes;
    damaged[at] = b'q';
    let error = strict(&damaged).unwrap_err();
    assert!(error.contains("'qc.ram'"), "{error}");
    let (seen, _) = rescue(&damaged);
    let ram = whole.blocks.find("pc.ram").unwrap().0;
    let others = |seen: &Seen| seen.pages.iter().filter(|page| page.0 != ram).count();
    assert_eq!(others(&seen), others(&whole));
    assert_eq!(seen.device_names(), whole.device_names());
}

#[test]
fn a_page_is_filled_with_its_byte_as_old_qemus_did() {
    let (bytes, _) = with_pages();
    let at = find(&bytes, b"\0\0\0\0\0\0\0\x02\x06pc.ram\0") + 15;
    let mut filled = bytes;
    filled[at] = 0xaa;
    let error = strict(&filled).unwrap_err();
    assert!(
        error.contains("found a zero page with value 170"),
        "{error}"
    );
    let (seen, _) = rescue(&filled);
    let ram = seen.blocks.find("pc.ram").unwrap().0;
    assert_eq!(seen.memory()[&(ram, 0)], Some(hash(&[0xaa; PAGE])));
    assert_eq!(seen.assumed(), [&AssumptionKind::Filled { byte: 0xaa }]);
}

#[test]
fn a_wrong_or_missing_footer_loses_nothing() {
    let (bytes, whole) = with_pages();
    let ram = [&EOS_RECORD[..], b"\x7e\0\0\0\x01"].concat();
    let timer = b"\x7e\0\0\0\0\x04".to_vec();
    for (footer, at) in [(&ram, 8), (&timer, 0)] {
        let at = find(&bytes, footer) + at;
        let mut wrong = bytes.clone();
        wrong[at + 4] = 0x99;
        let error = strict(&wrong).unwrap_err();
        assert!(error.contains("footer"), "{error}");
        let mut missing = bytes.clone();
        missing.drain(at..at + 5);
        strict(&missing).map(drop).unwrap_err();
        for (damaged, is_wrong) in [(wrong, true), (missing, false)] {
            let (seen, _) = rescue(&damaged);
            assert_eq!(seen.pages, whole.pages);
            // A device that nothing separates from the next one is lost with it; its footer is all
            // that would tell, once the description does not fit any more.
            if is_wrong || at < 0x1000 {
                assert_eq!(seen.devices, whole.devices);
            }
            assert!(!seen.assumptions.is_empty());
        }
    }
}

#[test]
fn an_unknown_section_is_named_and_passed_over() {
    let (bytes, whole) = with_pages();
    let at = find(&bytes, b"\x02\0\0\0\x01");
    let section = b"\x01\0\0\0\x77\x05block\0\0\0\0\0\0\0\x01whatever is in it\x7e\0\0\0\x77";
    let piece = b"\x03\0\0\0\x77and more of it\x7e\0\0\0\x77";
    let mut with = bytes.clone();
    with.splice(at..at, [&section[..], piece].concat());
    let error = strict(&with).unwrap_err();
    assert!(
        error.contains("the iterable section 'block' (instance 0)"),
        "{error}"
    );
    let (seen, _) = rescue(&with);
    let skipped = seen.assumed().into_iter().map(|kind| match kind {
        AssumptionKind::Skipped { bytes, .. } => *bytes,
        other => panic!("{other:?}"),
    });
    assert_eq!(skipped.collect::<Vec<_>>(), [17, 14]);
    assert_eq!((seen.pages, seen.devices), (whole.pages, whole.devices));
}

#[test]
fn any_changed_byte_leaves_most_of_the_machine() {
    let (bytes, whole) = with_pages();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    // Behind the list of blocks.
    let first = find(&bytes, b"\x02\0\0\0\x01");
    for _ in 0..1500 {
        let at = first + next(bytes.len() - first);
        let mut changed = bytes.clone();
        changed[at] ^= u8::try_from(1 + next(255)).unwrap();
        let (seen, _) = rescue(&changed);
        // A name that is damaged costs its block; anything else at most a few pages.
        let lost = whole.pages.len().saturating_sub(seen.pages.len());
        assert!(
            lost <= 260,
            "byte {at:#x}: {lost} pages lost, {:?}",
            seen.assumptions
        );
        let lost = whole.devices.len().saturating_sub(seen.devices.len());
        assert!(
            lost <= 2,
            "byte {at:#x}: {lost} devices lost, {:?}",
            seen.assumptions
        );
    }
}

#[test]
fn what_looks_like_the_end_of_a_section_within_another_is_not_taken_for_it() {
    let footer = |id: u8| [0x7e, 0, 0, 0, id];
    let device = |id: u8, name: &[u8; 4], payload: &[u8]| {
        let mut bytes = vec![4, 0, 0, 0, id, 4];
        bytes.extend(name);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    };
    // Without a description footers tell, and the first device holds a copy of the second, behind a footer like that
    // of a third.
    let second = [device(4, b"late", &[9; 3]), footer(4).to_vec()].concat();
    let first = device(3, b"soon", &[&[7; 5][..], &footer(0x55), &second].concat());
    let head = b"QEVM\0\0\0\x03\x07\0\0\0\x0bpc-q35-10.0";
    let stream = |own: u8| [head, &first[..], &footer(own), &second, &[0]].concat();

    let (seen, _) = rescue(&stream(3));
    assert_eq!(seen.device_names(), ["soon", "late"]);
    assert!(seen.assumptions.is_empty(), "{:?}", seen.assumptions);
    // If its own footer is not to be seen, the next best is.
    let (seen, _) = rescue(&stream(0x33));
    assert_eq!(seen.device_names(), ["soon", "late"]);
    assert!(matches!(
        seen.assumed()[..],
        [AssumptionKind::Footer { .. }]
    ));
}

#[test]
fn what_looks_like_a_description_within_a_device_is_none_where_all_devices_end() {
    // What load_stream of the fuzz targets found: nobody describes this machine, but a device's buffer does.
    let mut bytes = golden("10.0-q35-suppress-vmdesc");
    let json = br#"{"devices":[{"name":"timer","instance_id":0,"version":2,"fields":[{"name":"x","size":8}]}]}"#;
    let buffer = find(&bytes, b"ICH9LPC") + 6000;
    let len = u8::try_from(json.len()).unwrap();
    let hidden = [&[0x7e, 0, 0, 0, 0, 0, 6, 0, 0, 0, len], &json[..]].concat();
    bytes[buffer..][..hidden.len()].copy_from_slice(&hidden);
    let (whole, _) = strict(&bytes).expect("QEMU takes it");
    assert!(!whole.vmdesc && whole.devices.len() > 20);
    let (seen, summary) = rescue(&bytes);
    assert!(seen == whole, "{:?}", seen.device_names());
    assert!(summary.assumptions.is_empty(), "{:?}", summary.assumptions);
}
