use super::*;
use crate::ram::RamBlock;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn blocks(list: &[(&str, u64)]) -> RamBlocks {
    let block = |&(idstr, used_length): &(&str, u64)| RamBlock {
        idstr: idstr.to_owned(),
        used_length,
        host_page_size: None,
    };
    list.iter().map(block).collect()
}

/// What the firmware of a machine finds in the memory of the clock.
fn cmos(below: u64, above: u64) -> Vec<u8> {
    let mut cmos = vec![0; 128];
    let over = below.saturating_sub(16 * MIB) >> 16;
    cmos[0x34] = over.to_le_bytes()[0];
    cmos[0x35] = over.to_le_bytes()[1];
    cmos[0x5b..0x5e].copy_from_slice(&(above >> 16).to_le_bytes()[..3]);
    cmos
}

fn machine(name: &str) -> Known {
    Known {
        machine: Some(name.to_owned()),
        ..Known::default()
    }
}

fn lay(list: &[(&str, u64)], known: &Known) -> Result<Layout, LayoutError> {
    Layout::new(&blocks(list), PageSize::X86, known)
}

/// Address, length, block, offset.
fn places(layout: &Layout) -> Vec<(u64, u64, usize, u64)> {
    let place = |s: &Segment| (s.address, s.len, s.block.0, s.offset);
    layout.segments.iter().map(place).collect()
}

fn two_parts(below: u64, above: u64) -> Vec<(u64, u64, usize, u64)> {
    let mut parts = vec![(0, below, 0, 0)];
    if above > 0 {
        parts.push((HIGH, above, 0, below));
    }
    parts
}

/// As `info mtree -f` of QEMU 10.0.2 shows it; the first rows as 7.2.22 does, too.
const SEEN: [(&str, u64, u64); 16] = [
    ("pc-i440fx-10.0", 1024, 1024),
    ("pc-i440fx-7.2", 3072, 3072),
    ("pc-i440fx-7.2", 4096, 3072),
    ("pc-i440fx-10.0", 6144, 3072),
    ("pc-q35-10.0", 1024, 1024),
    ("pc-q35-7.2", 3072, 2048),
    ("pc-q35-7.2", 4096, 2048),
    ("pc-q35-10.0", 6144, 2048),
    ("pc-i440fx-10.0", 3583, 3583),
    ("pc-i440fx-10.0", 3584, 3072),
    ("pc-q35-10.0", 2815, 2815),
    ("pc-q35-10.0", 2816, 2048),
    ("microvm", 3072, 3072),
    ("microvm", 4096, 3072),
    ("pc-i440fx-10.0", 1, 1),
    ("pc-q35-10.0", 8, 8),
];

#[test]
fn the_rule_of_a_machine_type_splits_ram_where_real_machines_do() {
    for (name, total, below) in SEEN {
        let (total, below) = (total * MIB, below * MIB);
        let ram = if name == "microvm" {
            "microvm.ram"
        } else {
            "pc.ram"
        };
        let layout = lay(&[(ram, total)], &machine(name)).unwrap();
        assert_eq!(
            places(&layout),
            two_parts(below, total - below),
            "{name} {total}"
        );
        assert_eq!(layout.assumptions.len(), 1);
        assert!(
            layout.assumptions[0].contains("no clock (RTC)"),
            "{layout:?}"
        );

        // A clock that agrees leaves nothing to assume.
        let known = Known {
            cmos: Some(cmos(below, total - below)),
            ..machine(name)
        };
        let layout = lay(&[(ram, total)], &known).unwrap();
        assert_eq!(
            places(&layout),
            two_parts(below, total - below),
            "{name} {total}"
        );
        assert_eq!(layout.assumptions, [""; 0], "{name} {total}");
    }
}

/// `max-ram-below-4g`, which only the clock knows of.
#[test]
fn the_clock_is_believed_before_the_rule_if_its_sum_is_right() {
    let seen: [(&str, u64, u64); 8] = [
        ("pc-i440fx-10.0", 3840, 3840),
        ("pc-i440fx-10.0", 3200, 3200),
        ("pc-i440fx-10.0", 3072, 2560),
        ("pc-q35-10.0", 2600, 2560),
        ("pc-q35-10.0", 2048, 1024),
        ("pc-q35-10.0", 5120, 2048),
        ("pc-i440fx-10.0", 5120, 3072),
        ("some-board-1.0", 5120, 3072),
    ];
    for (name, total, below) in seen {
        let (total, below) = (total * MIB, below * MIB);
        let known = Known {
            cmos: Some(cmos(below, total - below)),
            ..machine(name)
        };
        let layout = lay(&[("pc.ram", total)], &known).unwrap();
        assert_eq!(
            places(&layout),
            two_parts(below, total - below),
            "{name} {total}"
        );
    }
    // One that a guest has written to.
    let known = Known {
        cmos: Some(cmos(GIB, GIB)),
        ..machine("pc-q35-10.0")
    };
    let layout = lay(&[("pc.ram", 4 * GIB)], &known).unwrap();
    assert_eq!(places(&layout), two_parts(2 * GIB, 2 * GIB));
    assert!(layout.assumptions[0].contains("by the rule of pc-q35-10.0"));
}

#[test]
fn what_a_person_says_is_believed_before_all_else() {
    let known = Known {
        cmos: Some(cmos(2 * GIB, 2 * GIB)),
        below_4g: Some(3 * GIB),
        ..machine("pc-q35-10.0")
    };
    let layout = lay(&[("pc.ram", 4 * GIB)], &known).unwrap();
    assert_eq!(places(&layout), two_parts(3 * GIB, GIB));
    for found in [4095, HIGH + 4096] {
        let known = Known {
            below_4g: Some(found),
            ..Known::default()
        };
        let error = lay(&[("pc.ram", 4 * GIB)], &known).unwrap_err();
        assert_eq!(error, LayoutError::BadSplit { found });
    }
    assert_eq!(
        lay(&[("pc.ram", GIB)], &machine("none")).unwrap_err(),
        LayoutError::UnknownSplit {
            machine: "none".into()
        }
    );
}

#[test]
fn numa_nodes_are_one_line_of_memory() {
    // Seen: 'mem1' at 1 GiB, and its rest at 4 GiB. The stream lists the larger one first.
    let list = [("mem1", 3 * GIB), ("mem0", GIB), ("pc.bios", 256 << 10)];
    let known = Known {
        cmos: Some(cmos(2 * GIB, 2 * GIB)),
        ..machine("pc-q35-10.0")
    };
    let layout = lay(&list, &known).unwrap();
    let expected = [
        (0, GIB, 1, 0),
        (GIB, GIB, 0, 0),
        (HIGH - (256 << 10), 256 << 10, 2, 0),
        (HIGH, 2 * GIB, 0, GIB),
    ];
    assert_eq!(places(&layout), expected);
    assert_eq!(
        layout.assumptions,
        ["the main RAM is made of 'mem0' (1 GiB), 'mem1' (3 GiB), in the order of their names"]
    );
    let known = Known {
        main: vec!["mem1".into(), "mem0".into()],
        ..known
    };
    let layout = lay(&list, &known).unwrap();
    assert_eq!(layout.segments[0].block, BlockIndex(0));
    assert_eq!(layout.assumptions, [""; 0]);
}

#[test]
fn a_dimm_is_no_main_memory_and_lies_where_it_is_said_to_lie() {
    let list = [("dimm0", 2 * GIB), ("mem", GIB)];
    let known = Known {
        cmos: Some(cmos(GIB, 0)),
        ..machine("pc-i440fx-10.0")
    };
    let layout = lay(&list, &known).unwrap();
    assert_eq!(places(&layout), [(0, GIB, 1, 0)]);
    assert_eq!(layout.left_out, [BlockIndex(0)]);
    assert_eq!(
        layout.assumptions,
        ["RAM block 'dimm0' (2 GiB) is left out: where it lies is not in the state"]
    );
    let placed = |address| Known {
        placed: vec![("dimm0".into(), address)],
        ..known.clone()
    };
    let layout = lay(&list, &placed(HIGH)).unwrap();
    assert_eq!(places(&layout), [(0, GIB, 1, 0), (HIGH, 2 * GIB, 0, 0)]);
    assert_eq!(layout.segments[1].kind, Kind::Device);
    assert!(layout.left_out.is_empty());

    let error = lay(&list, &placed(GIB - 4096)).unwrap_err().to_string();
    assert_eq!(
        error,
        "RAM blocks 'mem' and 'dimm0' would both lie at 0x3ffff000"
    );
    for address in [1, 1 << 63, u64::MAX - 4095] {
        let error = lay(&list, &placed(address)).unwrap_err();
        assert!(matches!(error, LayoutError::BadAddress { .. }), "{error}");
    }
    let known = Known {
        placed: vec![("dimm1".into(), 0)],
        ..known
    };
    let error = lay(&list, &known).unwrap_err().to_string();
    assert_eq!(error, "there is no RAM block 'dimm1'; there are dimm0, mem");
}

#[test]
fn blocks_among_which_the_main_memory_cannot_be_told_are_an_error_that_names_them() {
    let list = [("a", 2 * GIB), ("b", GIB), ("c", GIB)];
    let known = Known {
        cmos: Some(cmos(GIB, 0)),
        ..machine("pc-q35-10.0")
    };
    let error = lay(&list, &known).unwrap_err().to_string();
    assert!(
        error.contains("'a' (2 GiB), 'b' (1 GiB), 'c' (1 GiB)"),
        "{error}"
    );
    assert!(error.contains("1 GiB in all"), "{error}");
    let error = lay(&[("pc.bios", 4096)], &known).unwrap_err().to_string();
    assert!(error.contains("there are pc.bios"), "{error}");
}

#[test]
fn firmware_ends_at_4_gib_and_flash_takes_the_place_of_a_bios() {
    let known = machine("pc-q35-10.0");
    let bios = 256 << 10;
    let layout = lay(
        &[("pc.ram", MIB), ("pc.bios", bios), ("pc.rom", 128 << 10)],
        &known,
    )
    .unwrap();
    assert_eq!(places(&layout)[1..], [(0xfffc_0000, bios, 1, 0)]);
    assert_eq!(layout.left_out, [BlockIndex(2)]);
    let list = [
        ("pc.ram", MIB),
        ("system.flash1", bios),
        ("system.flash0", bios),
    ];
    let layout = lay(&list, &known).unwrap();
    assert_eq!(
        places(&layout)[1..],
        [(0xfff8_0000, bios, 1, 0), (0xfffc_0000, bios, 2, 0)]
    );
    assert_eq!(layout.of_kind(Kind::Firmware).count(), 2);
}

#[test]
fn arm_and_others_have_their_memory_in_one_piece() {
    for (machine_type, name, base) in [
        ("virt-10.0", "mach-virt.ram", 0x4000_0000),
        ("virt-10.0", "mem", 0x4000_0000),
        ("virt", "riscv_virt_board.ram", 0x8000_0000),
        ("s390-ccw-virtio-10.0", "s390.ram", 0),
    ] {
        let layout = lay(&[(name, 6 * GIB)], &machine(machine_type)).unwrap();
        assert_eq!(places(&layout), [(base, 6 * GIB, 0, 0)]);
        let said = &layout.assumptions[0];
        assert!(said.contains("in one piece"), "{layout:?}");
        let is_proven = !name.starts_with("riscv");
        assert_eq!(!said.contains("not proven"), is_proven, "{layout:?}");
    }
}

#[test]
fn an_address_is_found_in_its_block() {
    let layout = lay(&[("pc.ram", 4 * GIB)], &machine("pc-q35-10.0")).unwrap();
    assert_eq!(layout.find(5), Some((BlockIndex(0), 5, 2 * GIB - 5)));
    assert_eq!(layout.find(2 * GIB), None);
    assert_eq!(
        layout.find(HIGH + 1),
        Some((BlockIndex(0), 2 * GIB + 1, 2 * GIB - 1))
    );
    assert_eq!(layout.find(HIGH + 2 * GIB), None);
}
