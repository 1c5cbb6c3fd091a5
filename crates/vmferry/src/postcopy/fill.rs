//! The thread that sends all other pages, and the end.

use std::ops::{ControlFlow, Range};

use super::link::{Sender, Side};
use super::{Job, PostcopyError, Progress};
use crate::error::Error;
use crate::ram::{BlockIndex, Page, PageIndex, PageKind, PageSource};
use crate::save::Outgoing;
use crate::wire::ram::EOS_RECORD;
use crate::wire::section::ElementType;

/// Bytes of pages that go out at once: a request waits no longer than for these.
const BATCH_BYTES: usize = 64 << 10;

/// Records that go out at once: QEMU takes about a microsecond to place a page of zeros.
const BATCH_PAGES: usize = 256;

/// Pages that are read before the link is locked: a host page of 2 MiB and its 4 KiB pages.
const GROUP_PAGES: u64 = 512;

/// Pages that were read and wait to be sent, in one reused piece of memory.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    pages: Vec<(BlockIndex, PageIndex, PageKind)>,
}

impl Group {
    fn clear(&mut self) {
        self.bytes.clear();
        self.pages.clear();
    }

    fn push(&mut self, block: BlockIndex, page: PageIndex, content: Page<'_>) {
        let kind = match content {
            Page::Zero => PageKind::Zero,
            Page::Data(data) => {
                self.bytes.extend_from_slice(data);
                PageKind::Data
            }
        };
        self.pages.push((block, page, kind));
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES || self.pages.len() >= BATCH_PAGES
    }

    /// Puts the pages, in an element that was begun.
    fn put<W: Outgoing>(&self, sender: &mut Sender<W>, page_len: usize) {
        let mut data = self.bytes.chunks_exact(page_len);
        for (block, page, kind) in &self.pages {
            let content = match kind {
                PageKind::Data => Page::Data(data.next().unwrap_or_default()),
                // Within a host page that is sent, what was absent reads as zeros.
                PageKind::Zero | PageKind::Absent => Page::Zero,
            };
            sender.ram.page(*block, *page, content, &mut sender.tx);
        }
    }
}

/// The link was closed because the other thread failed.
fn closed<P>() -> PostcopyError<P> {
    PostcopyError::Send(Error::Closed)
}

impl<P: PageSource, W: Outgoing> Job<'_, P, W> {
    /// Sends every page that nobody asks for first, and then the end of the stream.
    pub(super) fn fill(&self) -> Result<(), PostcopyError<P::Error>> {
        self.link.wait_for_devices();
        let filled = self
            .fill_ordinary()
            .and_then(|()| self.fill_grouped())
            .and_then(|()| self.end());
        if filled.is_err() {
            self.link.fail(Side::Fill, self.abort);
        }
        filled
    }

    /// The blocks whose host pages are target pages, in the order that is cheapest to read.
    fn fill_ordinary(&self) -> Result<(), PostcopyError<P::Error>> {
        let mut batch = Group::default();
        let mut sent = Ok(());
        let wanted =
            |block, page| !self.claims.is_grouped(block) && !self.claims.is_taken(block, page);
        let read = self.source.pages(&wanted, &mut |block, page, content| {
            if self.claims.take(block, page) {
                batch.push(block, page, content);
            }
            if batch.is_full() {
                sent = self.send_batch(&mut batch);
            }
            match sent {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        sent?;
        read.map_err(PostcopyError::Page)?;
        self.send_batch(&mut batch)
    }

    fn send_batch(&self, batch: &mut Group) -> Result<(), PostcopyError<P::Error>> {
        if batch.pages.is_empty() {
            return Ok(());
        }
        let mut guard = self.link.lock_for_fill();
        let sender = guard.as_mut().ok_or_else(closed)?;
        sender.begin(ElementType::Part);
        batch.put(sender, self.source.page_size().bytes());
        sender.end();
        sender.tx.flush().map_err(PostcopyError::Send)?;
        Progress::add(&self.progress.sent, batch.pages.len() as u64);
        batch.clear();
        Ok(())
    }

    /// The blocks on huge pages, host page by host page.
    fn fill_grouped(&self) -> Result<(), PostcopyError<P::Error>> {
        let mut group = Group::default();
        for (block, _) in self.source.blocks().iter() {
            if !self.claims.is_grouped(block) {
                continue;
            }
            for page in self.claims.host_pages(block) {
                if self.claims.take(block, page) {
                    let pages = self.claims.group(block, page);
                    self.send_group(block, pages, &mut group, Side::Fill)?;
                }
            }
        }
        Ok(())
    }

    /// Sends the target pages of one host page back to back. For the fill, a host page that is
    /// wholly absent is left out.
    pub(super) fn send_group(
        &self,
        block: BlockIndex,
        pages: Range<u64>,
        group: &mut Group,
        side: Side,
    ) -> Result<(), PostcopyError<P::Error>> {
        let count = pages.end - pages.start;
        let mut from = pages.start;
        self.read_group(block, from..pages.end.min(from + GROUP_PAGES), group)?;
        let absent = group
            .pages
            .iter()
            .all(|(_, _, kind)| *kind == PageKind::Absent);
        if side == Side::Fill && absent && group.pages.len() as u64 == count {
            return Ok(());
        }
        let mut guard = match side {
            Side::Fill => self.link.lock_for_fill(),
            Side::Demand => self.link.lock_for_answer(),
        };
        let sender = guard.as_mut().ok_or_else(closed)?;
        sender.begin(ElementType::Part);
        loop {
            group.put(sender, self.source.page_size().bytes());
            from += group.pages.len() as u64;
            if from >= pages.end {
                break;
            }
            // Host pages larger than what we hold in memory: the rest is read under the lock,
            // because nothing may come between its parts.
            self.read_group(block, from..pages.end.min(from + GROUP_PAGES), group)?;
        }
        sender.end();
        sender.tx.flush().map_err(PostcopyError::Send)?;
        Progress::add(&self.progress.sent, count);
        Ok(())
    }

    fn read_group(
        &self,
        block: BlockIndex,
        pages: Range<u64>,
        group: &mut Group,
    ) -> Result<(), PostcopyError<P::Error>> {
        group.clear();
        let page_len = self.source.page_size().bytes();
        for page in pages.map(PageIndex) {
            let at = group.bytes.len();
            group.bytes.resize(at + page_len, 0);
            let read = self.source.page(block, page, &mut group.bytes[at..]);
            let kind = read.map_err(PostcopyError::Page)?;
            if kind != PageKind::Data {
                group.bytes.truncate(at);
            }
            group.pages.push((block, page, kind));
        }
        Ok(())
    }

    /// Ends the stream: every page has been claimed, and every claimed page has been sent, because
    /// the link is given to the fill only when no answer is under way.
    fn end(&self) -> Result<(), PostcopyError<P::Error>> {
        let mut guard = self.link.lock_behind();
        let sender = guard.as_mut().ok_or_else(closed)?;
        if let Some(mut urgent) = self.link.lock_urgent() {
            let urgent = urgent.as_mut().ok_or_else(closed)?;
            if self.preempt_eos {
                urgent.tx.put(&EOS_RECORD);
            }
            urgent.tx.flush().map_err(PostcopyError::Send)?;
        }
        sender.begin(ElementType::End);
        sender.end();
        sender.tx.put(&[ElementType::Eof as u8]);
        sender.tx.flush().map_err(PostcopyError::Send)?;
        drop(guard);
        self.observer.all_sent();
        Ok(())
    }
}
