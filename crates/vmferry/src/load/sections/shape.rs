//! What the beginning of an element looks like.
//!
//! Whether something is a footer, only what follows it shows; and where something is wrong, reading goes on at what
//! looks like an element. Each question has its own strictness, because a wrong answer costs something else.

use super::started::StartedSections;
use crate::wire::section::ElementType;
use crate::wire::vmdesc;

/// Whether an element, the end of the elements, or nothing begins here. Where the bytes end early,
/// what is there decides.
pub(super) fn begins_element(bytes: &[u8], started: &StartedSections) -> bool {
    let Some((first, rest)) = bytes.split_first() else {
        return true;
    };
    match ElementType::from_byte(*first) {
        Some(ElementType::Eof) => rest.first().is_none_or(|next| *next == vmdesc::ELEMENT),
        Some(ElementType::Start | ElementType::Full) => begins_header(rest),
        Some(ElementType::Part | ElementType::End) => match rest.first_chunk() {
            Some(id) => started.has(u32::from_be_bytes(*id)),
            None => true,
        },
        Some(ElementType::Command) => match rest {
            [high, low, ..] => *high == 0 && *low < 64,
            [high] => *high == 0,
            [] => true,
        },
        None => false,
    }
}

fn begins_header(bytes: &[u8]) -> bool {
    let Some((_, rest)) = bytes.split_at_checked(4) else {
        return true;
    };
    let Some((len, rest)) = rest.split_first() else {
        return true;
    };
    let name = rest.get(..usize::from(*len)).unwrap_or(rest);
    *len > 0 && name.iter().all(u8::is_ascii_graphic)
}

/// Whether an element begins here that is likely to be one, where a footer is missing.
pub(super) fn begins_likely_element(bytes: &[u8], started: &StartedSections) -> bool {
    match bytes {
        [part, a, b, c, d, ..]
            if *part == ElementType::Part as u8 || *part == ElementType::End as u8 =>
        {
            started.has(u32::from_be_bytes([*a, *b, *c, *d]))
        }
        [command, 0, 1..=11, 0, ..] if *command == ElementType::Command as u8 => true,
        _ => begins_section(bytes),
    }
}

/// Whether a START or FULL element begins here that looks like one of QEMU's: with small numbers, and a
/// name.
pub(in crate::load) fn begins_section(bytes: &[u8]) -> bool {
    let Some((first, rest)) = bytes.split_first() else {
        return false;
    };
    let header = matches!(
        ElementType::from_byte(*first),
        Some(ElementType::Start | ElementType::Full)
    );
    let Some(([0, 0, _, _, len], rest)) = rest.split_first_chunk().filter(|_| header) else {
        return false;
    };
    let Some((name, rest)) = rest.split_at_checked(usize::from(*len)) else {
        return false;
    };
    name.len() > 1
        && name.iter().all(u8::is_ascii_graphic)
        && matches!(rest, [0, 0, _, _, 0, 0, _, _, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::section::SectionHeader;

    const TIMER: &[u8] = b"\x04\0\0\0\x02\x05timer\0\0\0\0\0\0\0\x02";

    fn started() -> StartedSections {
        let mut started = StartedSections::default();
        let header = SectionHeader {
            section_id: 5,
            idstr: "ram".into(),
            instance_id: 0,
            version_id: 4,
        };
        started.insert(&header, 0).unwrap();
        started
    }

    #[test]
    fn an_element_is_recognised_also_where_it_is_cut() {
        for end in 0..=TIMER.len() {
            assert!(begins_element(&TIMER[..end], &started()), "{end}");
        }
        for (bytes, is_one) in [
            (&b"\0"[..], true),
            (b"\0\x06", true),
            (b"\0\0", false),
            (b"\x02\0\0\0\x05", true),
            (b"\x03\0\0\0\x06", false),
            (b"\x08\0\x3f", true),
            (b"\x08\0\x40", false),
            (b"\x04\0\0\0\x02\0", false),
            (b"\x04\0\0\0\x02\x02a ", false),
            (b"\x05", false),
        ] {
            assert_eq!(begins_element(bytes, &started()), is_one, "{bytes:02x?}");
        }
    }

    #[test]
    fn where_a_footer_is_missing_less_is_taken_for_an_element() {
        for (bytes, is_one) in [
            (TIMER, true),
            (&TIMER[..TIMER.len() - 1], false),
            (b"\0", false),
            (b"", false),
            (b"\x02\0\0\0\x05", true),
            (b"\x02\0\0\0\x06", false),
            (b"\x08\0\x02\0\x04", true),
            (b"\x08\0\x0c\0", false),
        ] {
            assert_eq!(
                begins_likely_element(bytes, &started()),
                is_one,
                "{bytes:02x?}"
            );
        }
    }

    #[test]
    fn a_section_has_small_numbers_and_a_name() {
        assert!(begins_section(TIMER));
        for at in [0, 1, 2, 6, 11, 12, 15, 16] {
            let mut bytes = TIMER.to_vec();
            bytes[at] = 0x10;
            assert!(!begins_section(&bytes), "{at}");
        }
        assert!(!begins_section(b"\x04\0\0\0\x02\x01t\0\0\0\0\0\0\0\x02"));
    }
}
