//! Finding something to go on with, after something that cannot be read.

use super::sections::{Sections, begins_section};
use super::source::Source;
use crate::error::Error;
use crate::ram::{BlockIndex, PageSize, RamBlocks};
use crate::wire::ram::{BlockRef, EOS_RECORD, Record, RecordKind};
use crate::wire::section::{self, FOOTER_LEN};
use crate::wire::{SliceSource, Source as _, limits};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landmark {
    /// Records of pages.
    Records,
    /// An element.
    Element,
}

/// What was learned of the stream before, by which its landmarks are recognised.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) sections: &'a Sections,
    pub(super) blocks: &'a RamBlocks,
    pub(super) page_size: PageSize,
    /// The block of the last page record.
    pub(super) current: Option<BlockIndex>,
}

/// Records in a row that are taken for records. Each has 64 bits, of which some 50 have to be right.
const ROW: usize = 3;

/// Goes to the next element, or to records of pages, whichever comes first. Where there is neither, to the end.
pub(super) fn seek<S: Source>(
    source: &mut S,
    context: &Context<'_>,
) -> Result<Option<Landmark>, Error> {
    loop {
        let Ok(window) = source.peek(limits::TAKE) else {
            return Ok(None);
        };
        if window.is_empty() {
            return Ok(None);
        }
        let is_all = window.len() < limits::TAKE;
        // As far as what follows can be seen.
        let to = match is_all {
            true => window.len(),
            false => window.len() / 2,
        };
        let place = (0..to).find_map(|from| {
            let here = window.get(from..)?;
            let (landmark, ahead) = landmark(here, context)?;
            Some((landmark, from + ahead))
        });
        let step = place.map_or(to, |(_, step)| step);
        source.take(step, "what cannot be read")?;
        if let Some((landmark, _)) = place {
            return Ok(Some(landmark));
        }
    }
}

/// What begins at the first of these bytes, and how many of them come before it can be read.
fn landmark(bytes: &[u8], context: &Context<'_>) -> Option<(Landmark, usize)> {
    let first = *bytes.first()?;
    if first == section::FOOTER {
        let id = u32::from_be_bytes(*bytes.get(1..)?.first_chunk()?);
        let next = bytes.get(FOOTER_LEN..)?;
        let sections = context.sections;
        if begins_section(next) || sections.is_started(id) && sections.begins_element(next) {
            return Some((Landmark::Element, FOOTER_LEN));
        }
    }
    if begins_section(bytes) {
        return Some((Landmark::Element, 0));
    }
    begins_row(bytes, context).then_some((Landmark::Records, 0))
}

/// Whether records of pages follow each other here, or end with their section.
fn begins_row(mut bytes: &[u8], context: &Context<'_>) -> bool {
    let mut current = context.current;
    for _ in 0..ROW {
        if let Some(after) = bytes.strip_prefix(&EOS_RECORD) {
            return after.first() == Some(&section::FOOTER);
        }
        let Some((word, rest)) = bytes.split_first_chunk() else {
            return false;
        };
        let Ok(record) = Record::from_word(u64::from_be_bytes(*word), context.page_size) else {
            return false;
        };
        let content = match record.kind {
            RecordKind::Page => context.page_size.bytes(),
            RecordKind::Zero => 1,
            _ => return false,
        };
        bytes = rest;
        if record.block == BlockRef::Named {
            let mut source = SliceSource::new(bytes);
            let Ok(name) = source.name("a RAM block") else {
                return false;
            };
            current = context.blocks.find(name);
            bytes = source.rest();
        }
        let used = current.and_then(|index| context.blocks.get(index));
        if used.is_none_or(|block| record.offset >= block.used_length) {
            return false;
        }
        match bytes.get(content..) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    true
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::source::Input;
    use crate::ram::RamBlock;
    use crate::wire::Sink;
    use crate::wire::section::SectionHeader;

    const TIMER: &[u8] = b"\x04\0\0\0\x02\x05timer\0\0\0\0\0\0\0\x02";
    const RAM: u32 = 3;

    /// A stream that has one block of four pages, and has started the `ram` section.
    struct Before {
        sections: Sections,
        blocks: RamBlocks,
    }

    impl Before {
        fn new() -> Self {
            let mut sections = Sections::default();
            let header = SectionHeader {
                section_id: RAM,
                idstr: "ram".into(),
                instance_id: 0,
                version_id: 4,
            };
            sections.start(&header, 0).unwrap();
            let mut blocks = RamBlocks::default();
            blocks.insert(RamBlock {
                idstr: "pc.ram".into(),
                used_length: 0x4000,
                host_page_size: None,
            });
            Self { sections, blocks }
        }

        /// What is found in `bytes`, and how much of them comes before it.
        fn seek(&self, bytes: &[u8]) -> Option<(Landmark, u64)> {
            let mut source = Input(SliceSource::new(bytes));
            let context = Context {
                sections: &self.sections,
                blocks: &self.blocks,
                page_size: PageSize::X86,
                current: Some(BlockIndex(0)),
            };
            let found = seek(&mut source, &context).unwrap();
            found.map(|landmark| (landmark, source.position()))
        }
    }

    /// A zero page that goes on with the block before.
    fn zero_page(offset: u64) -> Vec<u8> {
        let mut record = (offset | 0x22).to_be_bytes().to_vec();
        record.push(0);
        record
    }

    #[test]
    fn a_section_is_found_after_any_junk() {
        let junk = [0xa5; 100];
        let found = Before::new().seek(&[&junk[..], TIMER].concat());
        assert_eq!(found, Some((Landmark::Element, 100)));
        assert_eq!(Before::new().seek(&junk), None);
        assert_eq!(Before::new().seek(b""), None);
    }

    #[test]
    fn a_footer_is_passed_before_a_section_or_as_that_of_a_section_that_was_started() {
        let before = Before::new();
        let footer = section::footer(99);
        let found = before.seek(&[b"junk", &footer[..], TIMER].concat());
        assert_eq!(found, Some((Landmark::Element, 9)));
        // What may follow is less certain, so the number must be right.
        let end = b"\0\x06";
        assert_eq!(before.seek(&[&footer[..], end].concat()), None);
        let own = section::footer(RAM);
        let found = before.seek(&[&own[..], end].concat());
        assert_eq!(found, Some((Landmark::Element, 5)));
    }

    #[test]
    fn a_few_records_in_a_row_are_taken_for_records() {
        let before = Before::new();
        let row = [zero_page(0), zero_page(0x1000), zero_page(0x2000)].concat();
        let found = before.seek(&[b"junk!", &row[..]].concat());
        assert_eq!(found, Some((Landmark::Records, 5)));
        assert_eq!(before.seek(&row[..18]), None);
        // Fewer are enough where the piece ends.
        let end = [&row[..9], &EOS_RECORD, &[section::FOOTER]].concat();
        assert_eq!(before.seek(&end), Some((Landmark::Records, 0)));
        // No block has a page there.
        let beyond = [zero_page(0), zero_page(0x4000), zero_page(0x1000)].concat();
        assert_eq!(before.seek(&beyond), None);
    }

    #[test]
    fn a_record_may_name_its_block_if_there_is_one() {
        let before = Before::new();
        for (name, found) in [("pc.ram", Some((Landmark::Records, 0))), ("vga", None)] {
            let mut row = 0x02_u64.to_be_bytes().to_vec();
            row.put_name(name);
            row.push(0);
            row.put(&zero_page(0x1000));
            row.put(&zero_page(0x2000));
            // Without a block of its own, what follows belongs nowhere.
            assert_eq!(before.seek(&row), found, "{name}");
        }
    }

    #[test]
    fn what_is_farther_away_than_can_be_seen_at_once_is_found_too() {
        let junk = vec![0xa5; 3 * limits::TAKE - 7];
        let found = Before::new().seek(&[&junk[..], TIMER].concat());
        assert_eq!(found, Some((Landmark::Element, junk.len() as u64)));
    }
}
