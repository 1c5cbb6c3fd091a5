//! The iterable sections that were started.

use std::collections::BTreeMap;

use crate::error::FormatError;
use crate::wire::limits;
use crate::wire::section::SectionHeader;

/// Headers by their section's number, which alone the later pieces of a section have.
#[derive(Debug, Default)]
pub(super) struct StartedSections(BTreeMap<u32, SectionHeader>);

impl StartedSections {
    /// Notes a section, whose header ends the one before with the same number.
    pub(super) fn insert(&mut self, header: &SectionHeader, at: u64) -> Result<(), FormatError> {
        if self.0.len() == limits::ITERABLES && !self.has(header.section_id) {
            let limit = limits::ITERABLES as u64;
            let what = "the list of iterable sections";
            return Err(FormatError::too_long(at, what, limit + 1, limit));
        }
        self.0.insert(header.section_id, header.clone());
        Ok(())
    }

    pub(super) fn has(&self, section_id: u32) -> bool {
        self.0.contains_key(&section_id)
    }

    /// The section that a PART or END at offset `at` goes on with.
    pub(super) fn get(&self, section_id: u32, at: u64) -> Result<&SectionHeader, FormatError> {
        self.0.get(&section_id).ok_or_else(|| {
            let what = "the continuation of a section";
            let expected = "the id of a section that was started";
            let found = format!("unknown savevm section {section_id}");
            FormatError::unexpected(at, what, expected, found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(section_id: u32, idstr: &str) -> SectionHeader {
        SectionHeader {
            section_id,
            idstr: idstr.into(),
            instance_id: 0,
            version_id: 4,
        }
    }

    #[test]
    fn a_number_that_comes_again_means_the_later_section() {
        let mut started = StartedSections::default();
        started.insert(&header(2, "ram"), 0).unwrap();
        started.insert(&header(2, "dirty-bitmap"), 0).unwrap();
        assert_eq!(started.get(2, 9).unwrap().idstr, "dirty-bitmap");
        let error = started.get(3, 9).unwrap_err();
        assert_eq!(error.at, 9);
        assert!(error.to_string().contains("unknown savevm section 3"));
    }

    #[test]
    fn there_are_only_so_many_numbers() {
        let mut started = StartedSections::default();
        let limit = u32::try_from(limits::ITERABLES).unwrap();
        for id in 0..limit {
            started.insert(&header(id, "ram"), 0).unwrap();
        }
        started.insert(&header(0, "ram"), 0).unwrap();
        let error = started.insert(&header(limit, "ram"), 7).unwrap_err();
        assert!(error.to_string().contains("the list of iterable sections"));
    }
}
