//! Which RAM blocks are the machine's main memory.

use std::cmp::Ordering;

use super::split::Clock;
use super::{Known, LayoutError, size};
use crate::ram::{BlockIndex, RamBlocks};

/// What QEMU itself calls main memory, where no `memory-backend` is given.
const OWN_NAMES: [&str; 8] = [
    "pc.ram",
    "microvm.ram",
    "mach-virt.ram",
    "sbsa-ref.ram",
    "riscv_virt_board.ram",
    "s390.ram",
    "ppc_spapr.ram",
    "loongarch.ram",
];

/// The blocks of the main memory, in the order of their addresses.
pub(super) fn find(
    blocks: &RamBlocks,
    known: &Known,
    assumptions: &mut Vec<String>,
) -> Result<Vec<BlockIndex>, LayoutError> {
    if !known.main.is_empty() {
        return known.main.iter().map(|name| named(blocks, name)).collect();
    }
    let own = OWN_NAMES.iter().find_map(|name| blocks.find(name));
    if let Some(block) = own {
        return Ok(vec![block]);
    }
    let placed = |name: &str| known.placed.iter().any(|(placed, _)| placed == name);
    let mut candidates: Vec<_> = blocks
        .iter()
        .filter(|(_, block)| may_be(&block.idstr) && !placed(&block.idstr))
        .collect();
    // A stream lists blocks by their size, the largest first, and not in the order of the nodes.
    candidates.sort_by(|(_, a), (_, b)| natural(&a.idstr, &b.idstr));
    let names = || {
        let names = candidates
            .iter()
            .map(|(_, block)| format!("'{}' ({})", block.idstr, size(block.used_length)));
        names.collect::<Vec<_>>().join(", ")
    };
    let all = || candidates.iter().map(|(index, _)| *index).collect();
    let lengths = candidates.iter().map(|(_, block)| block.used_length);
    let sum = lengths.fold(0, u64::saturating_add);
    let clock = known.cmos.as_deref().and_then(Clock::read);
    let expected = clock.map(|clock| clock.total());
    if candidates.is_empty() {
        return Err(LayoutError::NoMainRam(list(blocks)));
    }
    if candidates.len() == 1 {
        return Ok(all());
    }
    match expected {
        Some(expected) if expected != sum => {
            let mut alone = candidates
                .iter()
                .filter(|(_, block)| block.used_length == expected);
            match (alone.next(), alone.next()) {
                (Some((index, _)), None) => Ok(vec![*index]),
                _ => Err(LayoutError::WhichMainRam {
                    candidates: names(),
                    expected: size(expected),
                }),
            }
        }
        _ => {
            assumptions.push(format!(
                "the main RAM is made of {}, in the order of their names",
                names()
            ));
            Ok(all())
        }
    }
}

/// Whether a block of this name may be main memory, or a DIMM: what a `memory-backend-*` is called, and
/// nothing that a device or a board calls its own.
pub(super) fn may_be(idstr: &str) -> bool {
    if OWN_NAMES.contains(&idstr) {
        return true;
    }
    if let Some(id) = idstr.strip_prefix("/objects/") {
        return !id.contains('/');
    }
    let of_a_board = [
        "pc.",
        "system.flash",
        "virt.flash",
        "vga.",
        "qxl.",
        "vmsvga.",
        "isa-",
    ];
    !idstr.contains('/') && !of_a_board.iter().any(|prefix| idstr.starts_with(prefix))
}

/// The block of a name that somebody said.
pub(super) fn named(blocks: &RamBlocks, name: &str) -> Result<BlockIndex, LayoutError> {
    blocks.find(name).ok_or_else(|| LayoutError::NoSuchBlock {
        name: name.to_owned(),
        known: list(blocks),
    })
}

fn list(blocks: &RamBlocks) -> String {
    let names = blocks.iter().map(|(_, block)| block.idstr.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// The order in which people count: `node2` before `node10`.
fn natural(a: &str, b: &str) -> Ordering {
    fn parts(name: &str) -> Vec<(bool, usize, &str)> {
        let mut parts = Vec::new();
        let mut rest = name;
        while let Some(first) = rest.chars().next() {
            let digits = first.is_ascii_digit();
            let end = rest.find(|c: char| c.is_ascii_digit() != digits);
            let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
            let part = if digits {
                part.trim_start_matches('0')
            } else {
                part
            };
            parts.push((digits, if digits { part.len() } else { 0 }, part));
            rest = behind;
        }
        parts
    }
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_people_count() {
        let mut names = [
            "node10", "mem", "node9", "node09", "a", "node1x", "1", "node",
        ];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            [
                "a", "mem", "node", "node1x", "node09", "node9", "node10", "1"
            ]
        );
    }

    #[test]
    fn what_a_device_or_a_board_calls_its_own_is_no_main_memory() {
        for name in [
            "mem",
            "ram-node0",
            "/objects/mem0",
            "pc.ram",
            "mach-virt.ram",
        ] {
            assert!(may_be(name), "{name}");
        }
        let others = [
            "pc.bios",
            "pc.rom",
            "/rom@etc/acpi/tables",
            "0000:00:02.0/vga.vram",
            "0000:00:01.0/vm0",
            "system.flash0",
            "vga.vram",
        ];
        for name in others {
            assert!(!may_be(name), "{name}");
        }
    }
}
