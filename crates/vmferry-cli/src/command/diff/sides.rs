//! Both sides, asked for the same pages: what the first one has of a piece is kept while the second one shows what it
//! has. Where both are checkpoints of one store, digests tell, and no page is read.

use std::ops::ControlFlow;

use vmferry::ram::{Page, PageError, PageIndex, PageSource, is_zero};
use vmferry_store::{Checkpoint, PageIdentity};

use super::change::{Change, Counts, List};
use super::piece::{Pair, Piece};
use crate::saved::Saved;
use crate::view::ranges::{self, Range};

/// Both sides, as one thread asks them.
pub(super) struct Sides<'a> {
    old: &'a Saved,
    new: &'a Saved,
    /// The same, where digests tell what is equal.
    digests: Option<(&'a Checkpoint, &'a Checkpoint)>,
    /// What the first side has of a piece, page after page; those that hold nothing are left as they were.
    was: Vec<u8>,
    /// How each page of a piece changed.
    changes: Vec<Option<Change>>,
    list: List,
}

impl<'a> Sides<'a> {
    pub(super) fn new(old: &'a Saved, new: &'a Saved, list: List) -> Self {
        let checkpoints = old.checkpoint().zip(new.checkpoint());
        Self {
            old,
            new,
            digests: checkpoints.filter(|(old, new)| old.has_digests_like(new)),
            was: Vec::new(),
            changes: Vec::new(),
            list,
        }
    }

    pub(super) fn compare(
        &mut self,
        pair: &Pair<'_>,
        piece: Piece,
    ) -> Result<(Counts, Vec<Range<Change>>), PageError> {
        self.changes.clear();
        match self.digests {
            Some((old, new)) => self.compare_digests(old, new, pair, piece)?,
            None => self.compare_pages(pair, piece)?,
        }
        let (mut counts, mut ranges) = (Counts::default(), Vec::new());
        for (page, change) in (piece.first..).zip(&self.changes) {
            counts.count(*change);
            if let Some(change) = change.filter(|_| self.list == List::Ranges) {
                ranges::push(&mut ranges, page, change);
            }
        }
        Ok((counts, ranges))
    }

    fn compare_digests(
        &mut self,
        old: &Checkpoint,
        new: &Checkpoint,
        pair: &Pair<'_>,
        piece: Piece,
    ) -> Result<(), PageError> {
        for page in (piece.first..piece.first + piece.pages).map(PageIndex) {
            let was = old.identity(pair.old, page).map_err(PageError::new)?;
            let is = new.identity(pair.new, page).map_err(PageError::new)?;
            let holds = |page| matches!(page, PageIdentity::Data(_));
            self.changes.push(change(holds(was), holds(is), was == is));
        }
        Ok(())
    }

    fn compare_pages(&mut self, pair: &Pair<'_>, piece: Piece) -> Result<(), PageError> {
        let page_len = self.new.page_size().bytes();
        let pages = PageIndex(piece.first)..PageIndex(piece.first + piece.pages);
        // A piece is small.
        let number = |page: PageIndex| usize::try_from(page.0 - piece.first).unwrap_or(usize::MAX);
        let len = number(pages.end);
        let (was, changes) = (&mut self.was, &mut self.changes);
        was.resize(len * page_len, 0);
        // As if the second side held nothing.
        changes.resize(len, change(false, false, true));
        self.old
            .pages_of(pair.old, pages.clone(), &mut |page, content| {
                if let Some(data) = held(content) {
                    let at = number(page);
                    was[at * page_len..][..page_len].copy_from_slice(data);
                    changes[at] = change(true, false, false);
                }
                ControlFlow::Continue(())
            })?;
        self.new.pages_of(pair.new, pages, &mut |page, content| {
            if let Some(is) = held(content) {
                let at = number(page);
                let was = changes[at].map(|_| &was[at * page_len..][..page_len]);
                changes[at] = change(was.is_some(), true, was == Some(is));
            }
            ControlFlow::Continue(())
        })
    }
}

/// What a page holds, if it is not all zeros. A page that was sent as it is may be.
fn held(content: Page<'_>) -> Option<&[u8]> {
    match content {
        Page::Data(data) if !is_zero(data) => Some(data),
        Page::Data(_) | Page::Zero => None,
    }
}

/// How a page changed that held something or not, and holds something or not; `same` counts if both.
fn change(held: bool, holds: bool, same: bool) -> Option<Change> {
    match (held, holds) {
        (false, false) => None,
        (false, true) => Some(Change::NewlyUsed),
        (true, false) => Some(Change::NewlyZero),
        (true, true) => (!same).then_some(Change::Changed),
    }
}
