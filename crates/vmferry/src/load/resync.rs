//! Finding something to go on with, behind something that cannot be read.

use super::pass::Pass;
use super::sections::begins_section;
use super::{AssumptionKind, LoadError, Visitor};
use crate::error::Error;
use crate::wire::ram::{BlockRef, EOS_RECORD, Record, RecordKind};
use crate::wire::section::{self, FOOTER_LEN};
use crate::wire::{SliceSource, Source, limits};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landmark {
    /// Records of pages.
    Records,
    /// An element.
    Element,
}

/// Records in a row that are taken for records. Each has 64 bits, of which some 50 have to be right.
const ROW: usize = 3;

impl<V: Visitor> Pass<'_, V> {
    /// Goes on at the next element, or at records of pages, whichever comes first behind something that is
    /// wrong. Where there is neither, the pass is cut.
    pub(super) fn resume<T: Source>(
        &mut self,
        source: &mut T,
        error: &Error,
    ) -> Result<Option<Landmark>, LoadError<V::Error>> {
        let reason = error.to_string();
        let section = match error {
            Error::Format(error) => error.section.clone(),
            _ => None,
        };
        let at = source.position();
        let mut found = None;
        // Nothing comes behind the end.
        while !error.is_end() {
            let Ok(window) = source.peek(limits::TAKE) else {
                break;
            };
            if window.is_empty() {
                break;
            }
            let is_all = window.len() < limits::TAKE;
            // As far as what follows can be seen.
            let to = match is_all {
                true => window.len(),
                false => window.len() / 2,
            };
            let place = (0..to).find_map(|from| {
                let here = window.get(from..)?;
                let (landmark, ahead) = self.landmark(here)?;
                Some((landmark, from + ahead))
            });
            let step = place.map_or(to, |(_, step)| step);
            source.take(step, "what cannot be read")?;
            if let Some((landmark, _)) = place {
                found = Some(landmark);
                break;
            }
        }
        self.cut = found.is_none();
        let kind = match found {
            Some(_) => AssumptionKind::Skipped {
                bytes: source.position().saturating_sub(at),
                reason,
            },
            None => AssumptionKind::Cut { reason },
        };
        self.report.assume(at, section.as_deref(), kind)?;
        Ok(found)
    }

    /// What begins at the first of these bytes, and how many of them come before it can be read.
    fn landmark(&self, bytes: &[u8]) -> Option<(Landmark, usize)> {
        let first = *bytes.first()?;
        if first == section::FOOTER {
            let id = u32::from_be_bytes(*bytes.get(1..)?.first_chunk()?);
            let next = bytes.get(FOOTER_LEN..)?;
            let is_next = begins_section(next)
                || self.sections.is_started(id) && self.sections.begins_element(next);
            if is_next {
                return Some((Landmark::Element, FOOTER_LEN));
            }
        }
        if begins_section(bytes) {
            return Some((Landmark::Element, 0));
        }
        self.row(bytes).then_some((Landmark::Records, 0))
    }

    /// Whether records of pages follow each other here, or end with their section.
    fn row(&self, mut bytes: &[u8]) -> bool {
        let mut current = self.current;
        for _ in 0..ROW {
            if let Some(behind) = bytes.strip_prefix(&EOS_RECORD) {
                return behind.first() == Some(&section::FOOTER);
            }
            let Some((word, rest)) = bytes.split_first_chunk() else {
                return false;
            };
            let Ok(record) = Record::from_word(u64::from_be_bytes(*word), self.page_size) else {
                return false;
            };
            let content = match record.kind {
                RecordKind::Page => self.page_size.bytes(),
                RecordKind::Zero => 1,
                _ => return false,
            };
            bytes = rest;
            if record.block == BlockRef::Named {
                let Ok(name) = SliceSource::new(bytes)
                    .name("a RAM block")
                    .map(str::to_owned)
                else {
                    return false;
                };
                current = self.blocks.find(&name);
                bytes = bytes.get(1 + name.len()..).unwrap_or_default();
            }
            let used = current.and_then(|index| self.blocks.get(index));
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
}
