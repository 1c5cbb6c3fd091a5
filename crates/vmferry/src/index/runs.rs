//! Reading all pages, in the order of the blocks, with as few reads as it takes.

use std::io;
use std::ops::ControlFlow;

use super::Index;
use super::places::Place;
use crate::ram::{BlockIndex, Page, PageIndex, is_zero};

/// Bytes that are read at once, at most.
const RUN: u64 = 1 << 20;

/// Bytes between two pages that it is cheaper to read than to leave out: the heads of pages, and zero pages
/// of a stream, which have nine bytes each.
const GAP: u64 = 16 << 10;

/// Pages that wait for a read, at most: zero pages wait with the others, so that the order stays.
const WAITING: usize = 1 << 14;

/// Where something is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Channel(u8),
    Spool,
}

/// Pages that are to be shown next, in this order, and the one read that it takes for them.
pub(super) struct Run {
    medium: Medium,
    start: u64,
    end: u64,
    pages: Vec<(BlockIndex, PageIndex, Option<u64>)>,
    buffer: Vec<u8>,
}

/// A run that could not be read.
pub(super) struct Failed {
    /// Its first page that is anywhere.
    pub(super) block: BlockIndex,
    pub(super) page: PageIndex,
    pub(super) source: io::Error,
}

impl Run {
    pub(super) fn new() -> Self {
        Self {
            medium: Medium::Channel(0),
            start: 0,
            end: 0,
            pages: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Takes a page up, if it goes with the others; else it is to be asked again when they were shown.
    pub(super) fn take(
        &mut self,
        index: &Index,
        block: BlockIndex,
        page: PageIndex,
        place: Place,
    ) -> bool {
        if self.pages.len() == WAITING {
            return false;
        }
        let (medium, offset) = match place {
            Place::Absent => return true,
            Place::Zero => {
                self.pages.push((block, page, None));
                return true;
            }
            Place::Channel(channel, offset) => (Medium::Channel(channel), offset),
            Place::Spool(slot) => (Medium::Spool, index.page_offset(slot)),
        };
        let end = offset.saturating_add(index.page_size.bytes() as u64);
        if self.start == self.end {
            (self.medium, self.start) = (medium, offset);
        } else if medium != self.medium
            || offset.checked_sub(self.end).is_none_or(|gap| gap > GAP)
            || end - self.start > RUN
        {
            return false;
        }
        self.end = end;
        self.pages.push((block, page, Some(offset)));
        true
    }

    /// Shows what was taken up.
    pub(super) fn show(
        &mut self,
        index: &Index,
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Failed> {
        // Never more than a run and a page.
        let len = usize::try_from(self.end - self.start).unwrap_or(0);
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        let buffer = &mut self.buffer[..len];
        if let Err(source) = index.read_medium(self.medium, buffer, self.start) {
            let somewhere = |(_, _, offset): &&(_, _, Option<u64>)| offset.is_some();
            let first = self.pages.iter().find(somewhere);
            let (block, page, _) = first
                .copied()
                .unwrap_or((BlockIndex(0), PageIndex(0), None));
            return Err(Failed {
                block,
                page,
                source,
            });
        }
        let page_len = index.page_size.bytes();
        for (block, page, offset) in self.pages.drain(..) {
            let content = offset.map_or(Page::Zero, |offset| {
                let at = usize::try_from(offset - self.start).unwrap_or(0);
                match &buffer[at..at + page_len] {
                    zeros if is_zero(zeros) => Page::Zero,
                    data => Page::Data(data),
                }
            });
            if visit(block, page, content).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        (self.start, self.end) = (0, 0);
        Ok(ControlFlow::Continue(()))
    }
}
