//! How pages change.

use serde::Serialize;

/// How a page changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Change {
    /// It held something, and holds something else.
    Changed,
    /// It was zero (or never sent), and holds something.
    NewlyUsed,
    /// It held something, and is zero.
    NewlyZero,
}

/// How many pages changed in which way.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Counts {
    pub(super) same_pages: u64,
    pub(super) changed_pages: u64,
    pub(super) newly_used_pages: u64,
    pub(super) newly_zero_pages: u64,
}

/// Whether it is told which pages changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// How many is enough.
    Counts,
    /// All of them.
    Ranges,
}

impl Counts {
    pub(super) fn different(&self) -> u64 {
        self.changed_pages + self.newly_used_pages + self.newly_zero_pages
    }

    /// Adds what was found in a piece, of which all pages were counted as the same.
    pub(super) fn add(&mut self, other: &Self) {
        self.same_pages -= other.different();
        self.changed_pages += other.changed_pages;
        self.newly_used_pages += other.newly_used_pages;
        self.newly_zero_pages += other.newly_zero_pages;
    }

    pub(super) fn count(&mut self, change: Option<Change>) {
        *match change {
            None => &mut self.same_pages,
            Some(Change::Changed) => &mut self.changed_pages,
            Some(Change::NewlyUsed) => &mut self.newly_used_pages,
            Some(Change::NewlyZero) => &mut self.newly_zero_pages,
        } += 1;
    }
}
