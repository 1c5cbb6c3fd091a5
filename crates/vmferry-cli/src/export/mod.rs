//! A saved machine's memory in the shapes that other tools read.
//!
//! Each format is a pure function from a [`Layout`](vmferry::ram::layout::Layout) to a [`Plan`]: which
//! bytes of which RAM block come where in the file, and what stands between them. [`canvas`] fills a plan
//! in a file, in whatever order the pages come; [`pour`] writes it in its own order into a pipe.

pub mod blocks;
pub mod canvas;
pub mod cpu;
pub mod elf;
pub mod known;
pub mod lime;
mod note;
pub mod pour;
pub mod raw;
pub mod vmcoreinfo;

use vmferry::ram::BlockIndex;

/// What is said of memory that cannot be written; who knows the file adds its name.
pub const CANNOT_WRITE: &str = "the memory cannot be written";

/// What a file will hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Bytes that are known, and where they stand.
    pub texts: Vec<(u64, Vec<u8>)>,
    /// Parts of RAM blocks.
    pub extents: Vec<Extent>,
    /// Length of the file in bytes. What is neither text nor extent is zero.
    pub len: u64,
}

/// A part of a RAM block in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file.
    pub at: u64,
    /// The block.
    pub block: BlockIndex,
    /// Where in the block, in bytes: the begin of a page.
    pub offset: u64,
    /// In bytes: whole pages.
    pub len: u64,
}
