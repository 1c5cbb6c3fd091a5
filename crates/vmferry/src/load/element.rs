//! The elements of a stream, for callers that list them.

use std::ops::{AddAssign, Sub};

use crate::wire::command::Command;
use crate::wire::section::ElementType;

/// Where an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nesting {
    /// In the stream.
    Stream,
    /// In a package of a postcopy migration, which is in the stream.
    Package,
}

/// One element of a stream, or what comes before and after the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// What it is.
    pub kind: ElementKind<'a>,
    /// Offset in the stream, in bytes, of its first byte.
    pub offset: u64,
    /// Its bytes, with its footer. Those of a PACKAGED command are those of the command alone: what is in
    /// the package follows, element by element.
    pub length: u64,
    /// Where it is.
    pub nesting: Nesting,
    /// The pages in it.
    pub pages: PageCounts,
}

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElementKind<'a> {
    /// The configuration.
    Configuration,
    /// A piece of a section, or all of it.
    Section {
        /// START, PART, END or FULL.
        element: ElementType,
        /// The section's number within this stream.
        section_id: u32,
        /// Whose section it is.
        idstr: &'a str,
        /// Which of several owners of the same name.
        instance_id: u32,
        /// The version of the payload's layout.
        version_id: u32,
    },
    /// A command.
    Command(&'a Command),
    /// The end of the elements.
    Eof,
    /// The trailing description.
    VmDesc,
}

/// How many pages came, by their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageCounts {
    /// In all.
    pub pages: u64,
    /// That said zero.
    pub zero: u64,
    /// As differences (XBZRLE).
    pub xbzrle: u64,
    /// Compressed, each by itself.
    pub compressed: u64,
    /// That came through multifd channels meanwhile.
    pub multifd: u64,
}

impl PageCounts {
    /// A page, whatever its form.
    pub(super) const PAGE: Self = Self {
        pages: 1,
        zero: 0,
        xbzrle: 0,
        compressed: 0,
        multifd: 0,
    };
    /// That a page which was counted says zero.
    pub(super) const ZERO: Self = Self {
        pages: 0,
        zero: 1,
        ..Self::PAGE
    };
}

impl AddAssign for PageCounts {
    #[inline]
    fn add_assign(&mut self, more: Self) {
        self.pages += more.pages;
        self.zero += more.zero;
        self.xbzrle += more.xbzrle;
        self.compressed += more.compressed;
        self.multifd += more.multifd;
    }
}

impl Sub for PageCounts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            pages: self.pages - before.pages,
            zero: self.zero - before.zero,
            xbzrle: self.xbzrle - before.xbzrle,
            compressed: self.compressed - before.compressed,
            multifd: self.multifd - before.multifd,
        }
    }
}
