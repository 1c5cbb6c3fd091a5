//! The pages that a caller names, in the order in which it names them.
//!
//! They are looked up some at a time, so that their frames can be read in the order in which they are
//! stored, each once. The caller's thread does it all: a caller who wants more of the machine reads
//! several lists at once.

use std::ops::ControlFlow;
use std::sync::Arc;

use vmferry::ram::{BlockIndex, Page, PageIndex, PageRange};

use super::Checkpoint;
use super::frame::{DecodedFrame, FrameId};
use super::order::Target;
use crate::error::StoreError;
use crate::map::PageAt;

/// Pages that are looked up before they are shown.
const MAX_PAGES: usize = 1024;
/// Frames that are held at the same time, unless the pool is too small for so many.
const MAX_FRAMES: usize = 64;

type Visit<'a> = &'a mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>;

/// Pages that are shown next, in order, and the frames that they need.
#[derive(Default)]
struct Window {
    pages: Vec<Found>,
    /// Sorted.
    frames: Vec<Needed>,
}

struct Needed {
    id: FrameId,
    /// When it has been fetched.
    frame: Option<Arc<DecodedFrame>>,
}

enum Found {
    Zero(BlockIndex, PageIndex),
    Stored(Target),
}

impl Checkpoint {
    pub(super) fn show_ranges(
        &self,
        wanted: &mut dyn Iterator<Item = PageRange>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let most_frames = self.pool.capacity_in_frames() / 4;
        let most_frames = most_frames.clamp(1, MAX_FRAMES);
        let mut window = Window::default();
        let mut stored = Vec::new();
        let mut range: Option<PageRange> = None;
        loop {
            window.pages.clear();
            window.frames.clear();
            while window.pages.len() < MAX_PAGES && window.frames.len() < most_frames {
                // What may take its time is not waited for while there is something to show.
                if range.is_none() && (window.pages.is_empty() || wanted.size_hint().0 > 0) {
                    range = wanted.next();
                }
                let Some(PageRange { block, pages }) = &mut range else {
                    break;
                };
                if pages.start >= pages.end {
                    range = None;
                    continue;
                }
                let page = pages.start;
                pages.start.0 += 1;
                match self.place(*block, page)? {
                    PageAt::Absent => {}
                    PageAt::Zero => window.pages.push(Found::Zero(*block, page)),
                    PageAt::Stored(place) => window.push(Target::new(place, *block, page)),
                }
            }
            if window.pages.is_empty() {
                return Ok(());
            }
            self.fetch(&mut window, &mut stored)?;
            if self.show(&window, visit)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Puts the frames that the window needs into it.
    fn fetch(&self, window: &mut Window, stored: &mut Vec<u8>) -> Result<(), StoreError> {
        for of_pack in window.frames.chunk_by_mut(|a, b| a.id.pack == b.id.pack) {
            let pack = of_pack[0].id.pack;
            let numbers: Vec<u32> = of_pack.iter().map(|needed| needed.id.number).collect();
            // It is not broken off.
            let _ = self.pool.frames(pack, &numbers, stored, |at, frame| {
                of_pack[at].frame = Some(frame);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(())
    }

    fn show(&self, window: &Window, visit: Visit<'_>) -> Result<ControlFlow<()>, StoreError> {
        for page in &window.pages {
            let flow = match page {
                Found::Zero(block, page) => visit(*block, *page, Page::Zero),
                Found::Stored(target) => {
                    let frame = window.frame(*target)?;
                    let content = frame.page(target.place.slot(), &self.keys)?;
                    visit(target.block(), target.page(), Page::Data(content))
                }
            };
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Window {
    fn push(&mut self, target: Target) {
        let id = target.frame();
        // Nearly always it is the last one again.
        if self.frames.last().is_none_or(|last| last.id != id) {
            if let Err(at) = self.frames.binary_search_by_key(&id, |needed| needed.id) {
                self.frames.insert(at, Needed { id, frame: None });
            }
        }
        self.pages.push(Found::Stored(target));
    }

    fn frame(&self, target: Target) -> Result<&DecodedFrame, StoreError> {
        let at = self
            .frames
            .binary_search_by_key(&target.frame(), |needed| needed.id);
        at.ok()
            .and_then(|at| self.frames[at].frame.as_deref())
            .ok_or(StoreError::Unreachable("a frame that was not fetched"))
    }
}
