//! Pages that lie side by side, as one range.

use serde::Serialize;

/// A run of pages of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range<K> {
    /// The first page.
    pub first: u64,
    /// How many there are.
    pub pages: u64,
    /// What they are.
    pub kind: K,
}

/// Adds a page behind all others; one that continues the last range makes it longer.
pub fn push<K: Copy + PartialEq>(ranges: &mut Vec<Range<K>>, page: u64, kind: K) {
    let one = Range {
        first: page,
        pages: 1,
        kind,
    };
    join(ranges, one);
}

/// Adds a range behind all others.
pub fn join<K: Copy + PartialEq>(ranges: &mut Vec<Range<K>>, range: Range<K>) {
    match ranges.last_mut() {
        Some(last) if last.kind == range.kind && last.first + last.pages == range.first => {
            last.pages += range.pages;
        }
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_side_by_side_of_one_kind_are_one_range() {
        let mut ranges = Vec::new();
        for (page, kind) in [(1, 'a'), (2, 'a'), (3, 'b'), (5, 'b'), (6, 'b')] {
            push(&mut ranges, page, kind);
        }
        join(
            &mut ranges,
            Range {
                first: 7,
                pages: 3,
                kind: 'b',
            },
        );
        let seen: Vec<_> = ranges.iter().map(|r| (r.first, r.pages, r.kind)).collect();
        assert_eq!(seen, [(1, 2, 'a'), (3, 1, 'b'), (5, 5, 'b')]);
    }
}
