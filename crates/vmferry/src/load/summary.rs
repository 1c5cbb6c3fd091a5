//! What a pass has seen, all in all.

use super::Assumption;
use crate::wire::limits;

/// What a pass has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the stream, without what comes after its end.
    pub bytes: u64,
    /// Page records in all; a page that came twice counts twice.
    pub pages: u64,
    /// Page records that said zero.
    pub zero_pages: u64,
    /// Page records that gave differences (XBZRLE).
    pub xbzrle_pages: u64,
    /// Page records that were compressed, each page by itself.
    pub compressed_pages: u64,
    /// Pages that came through multifd channels.
    pub multifd_pages: u64,
    /// Device sections, early ones included.
    pub devices: u64,
    /// The number of the `ram` section, where there was one.
    pub ram_section_id: Option<u32>,
    /// Whether the `ram` section was ended. That of a background snapshot is not.
    pub ram_ended: bool,
    /// Whether the guest moved before its pages: they come after its devices, of which the ends are a
    /// guess, because no description follows.
    pub switched_to_postcopy: bool,
    /// The names of the iterable sections other than `ram`: the first [`limits::ITERABLES`] of them.
    pub other_sections: Vec<String>,
    /// What was assumed or passed over: the first [`limits::ASSUMPTIONS`] of it.
    pub assumptions: Vec<Assumption>,
    /// How many more assumptions there were.
    pub more_assumptions: u64,
}

impl Summary {
    pub(super) fn add_assumption(&mut self, assumption: Assumption) {
        if self.assumptions.len() < limits::ASSUMPTIONS {
            self.assumptions.push(assumption);
        } else {
            self.more_assumptions += 1;
        }
    }
}
