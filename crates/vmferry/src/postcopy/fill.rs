//! The thread that sends all other pages, and the end.

use std::ops::{ControlFlow, Range};

use super::link::{Closed, Sender, Side};
use super::{Job, PostcopyError};
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

/// Pages that were read and wait to be sent, in one reused piece of memory. They are not claimed: until they go
/// out, a request for one of them is answered as if it had not been read here.
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

    fn push_absent(&mut self, block: BlockIndex, pages: Range<u64>) {
        let absent = pages.map(|page| (block, PageIndex(page), PageKind::Absent));
        self.pages.extend(absent);
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES || self.pages.len() >= BATCH_PAGES
    }

    /// Puts the pages for which `claim` says yes, in an element that was begun, and returns how many those are.
    fn put<W: Outgoing>(
        &self,
        sender: &mut Sender<W>,
        page_len: usize,
        claim: impl Fn(BlockIndex, PageIndex) -> bool,
    ) -> u64 {
        let mut data = self.bytes.chunks_exact(page_len);
        let mut count = 0;
        for (block, page, kind) in &self.pages {
            let content = match kind {
                PageKind::Data => Page::Data(data.next().unwrap_or_default()),
                // Within a host page that is sent, what was absent reads as zeros.
                PageKind::Zero | PageKind::Absent => Page::Zero,
            };
            if claim(*block, *page) {
                sender.ram.page(*block, *page, content, &mut sender.tx);
                count += 1;
            }
        }
        count
    }
}

/// What became of a host page that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Its target pages went out: so many.
    Pages(u64),
    /// The other thread has sent it, or it need not be sent.
    Nothing,
}

impl<P> From<Closed> for PostcopyError<P> {
    fn from(Closed: Closed) -> Self {
        Self::Send(Error::Closed)
    }
}

impl<P: PageSource, W: Outgoing> Job<'_, P, W> {
    /// Sends every page that nobody asks for first, and then the end of the stream.
    pub(super) fn fill(&self) -> Result<(), PostcopyError<P::Error>> {
        let _closing = self.link.close_on_panic(Side::Fill, self.abort);
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
            // Claimed only when it is sent: nobody knows how long the source takes to show the next page, and
            // a request for this one must not wait for that.
            if !self.claims.is_taken(block, page) {
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
        let sender = guard.sender()?;
        sender.begin(ElementType::Part);
        let count = batch.put(sender, self.source.page_size().bytes(), |block, page| {
            self.claims.take(block, page)
        });
        sender.end();
        sender.tx.flush().map_err(PostcopyError::Send)?;
        self.progress.add_sent(count);
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
                if !self.claims.is_taken(block, page) {
                    self.send_group(block, page, &mut group, Side::Fill)?;
                }
            }
        }
        Ok(())
    }

    /// Sends the target pages of the host page with `page`, back to back, unless the other thread has been faster.
    /// For the fill, a host page that is wholly absent is left out: it stays to be asked for.
    pub(super) fn send_group(
        &self,
        block: BlockIndex,
        page: PageIndex,
        group: &mut Group,
        side: Side,
    ) -> Result<Sent, PostcopyError<P::Error>> {
        let pages = self.claims.group(block, page);
        let count = pages.end - pages.start;
        let mut from = pages.start;
        self.read_group(block, from..pages.end.min(from + GROUP_PAGES), group)?;
        let absent = group
            .pages
            .iter()
            .all(|(_, _, kind)| *kind == PageKind::Absent);
        if side == Side::Fill && absent && group.pages.len() as u64 == count {
            return Ok(Sent::Nothing);
        }
        let mut guard = match side {
            Side::Fill => self.link.lock_for_fill(),
            Side::Demand => self.link.lock_for_answer(),
        };
        // After the end, the destination has filled what was absent with zeros, and reads no more.
        if guard.is_ended() {
            return Ok(Sent::Nothing);
        }
        let sender = guard.sender()?;
        // The page is in hand, and the channel too: from here on it is on its way.
        if !self.claims.take(block, page) {
            return Ok(Sent::Nothing);
        }
        sender.begin(ElementType::Part);
        loop {
            group.put(sender, self.source.page_size().bytes(), |_, _| true);
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
        self.progress.add_sent(count);
        Ok(Sent::Pages(count))
    }

    fn read_group(
        &self,
        block: BlockIndex,
        pages: Range<u64>,
        group: &mut Group,
    ) -> Result<(), PostcopyError<P::Error>> {
        group.clear();
        if pages.end - pages.start == 1 {
            return self.read_one(block, PageIndex(pages.start), group);
        }
        // What is not shown is absent.
        let mut next = pages.start;
        let range = PageIndex(pages.start)..PageIndex(pages.end);
        let read = self.source.pages_of(block, range, &mut |page, content| {
            group.push_absent(block, next..page.0);
            group.push(block, page, content);
            next = page.0 + 1;
            ControlFlow::Continue(())
        });
        read.map_err(PostcopyError::Page)?;
        group.push_absent(block, next..pages.end);
        Ok(())
    }

    fn read_one(
        &self,
        block: BlockIndex,
        page: PageIndex,
        group: &mut Group,
    ) -> Result<(), PostcopyError<P::Error>> {
        group.bytes.resize(self.source.page_size().bytes(), 0);
        let read = self.source.page(block, page, &mut group.bytes);
        let kind = read.map_err(PostcopyError::Page)?;
        if kind != PageKind::Data {
            group.bytes.clear();
        }
        group.pages.push((block, page, kind));
        Ok(())
    }

    /// Ends the stream: every page that is not absent has been claimed, and every claimed page has been sent, because
    /// the link is given to the fill only when no answer is under way.
    fn end(&self) -> Result<(), PostcopyError<P::Error>> {
        let mut guard = self.link.lock_behind();
        let sender = guard.sender()?;
        let mut urgent = self.link.lock_urgent();
        if let Some(urgent) = &mut urgent {
            let urgent = urgent.sender()?;
            if self.preempt_eos {
                urgent.tx.put(&EOS_RECORD);
            }
            urgent.tx.flush().map_err(PostcopyError::Send)?;
        }
        sender.begin(ElementType::End);
        sender.end();
        sender.tx.put(&[ElementType::Eof as u8]);
        sender.tx.flush().map_err(PostcopyError::Send)?;
        // Before an answer can have either channel.
        guard.set_ended();
        if let Some(urgent) = &mut urgent {
            urgent.set_ended();
        }
        drop((guard, urgent));
        self.observer.all_sent();
        Ok(())
    }
}
