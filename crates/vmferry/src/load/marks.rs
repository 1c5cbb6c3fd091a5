//! Places that look like the footer of a section.

use crate::wire::section::{self, FOOTER_LEN};
use crate::work;

/// What looks like a footer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark<'a> {
    /// Where it is.
    pub(super) at: usize,
    /// Its bytes.
    pub(super) footer: &'a [u8],
    /// What comes after it.
    pub(super) after: &'a [u8],
}

/// Everything in `bytes` that looks like a footer, in order.
pub(super) fn marks(bytes: &[u8]) -> impl Iterator<Item = Mark<'_>> {
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
