//! Places that look like the footer of a section.

use std::cell::Cell;

use crate::wire::limits;
use crate::wire::section::{self, FOOTER_LEN};
use crate::work;

/// Bytes that were searched for footers beyond where sections end: in proportion to what is read, so that a hostile
/// stream cannot make the search quadratic.
#[derive(Debug, Default)]
pub(super) struct SearchBudget(Cell<u64>);

impl SearchBudget {
    /// Whether more may be searched when the stream was read up to offset `passed`.
    pub(super) fn may_go_on(&self, passed: u64) -> bool {
        let more = passed.saturating_mul(limits::FOOTERS_SOUGHT_FOR_EACH);
        self.0.get() < limits::FOOTERS_SOUGHT.saturating_add(more)
    }

    pub(super) fn spend(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_add(bytes as u64));
    }
}

/// What looks like a footer.
#[derive(Debug, Clone, Copy)]
pub(in crate::load) struct Mark<'a> {
    /// Where it is.
    pub(in crate::load) at: usize,
    /// Its bytes.
    pub(in crate::load) footer: &'a [u8],
    /// What comes after it.
    pub(in crate::load) after: &'a [u8],
}

/// Everything in `bytes` that looks like a footer, in order.
pub(in crate::load) fn marks(bytes: &[u8]) -> impl Iterator<Item = Mark<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(from..)?;
        let ahead = rest.iter().position(|byte| *byte == section::FOOTER);
        work::count(ahead.unwrap_or(rest.len()) + 1);
        let at = from + ahead?;
        from = at + 1;
        let (footer, after) = bytes.get(at..)?.split_at_checked(FOOTER_LEN)?;
        Some(Mark { at, footer, after })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_may_overlap_and_are_whole() {
        let bytes = b"a\x7e\x7e\0\0\0\x01\x7e\0\0";
        let all: Vec<_> = marks(bytes).map(|mark| (mark.at, mark.after)).collect();
        assert_eq!(all, [(1, &bytes[6..]), (2, &bytes[7..])]);
    }
}
