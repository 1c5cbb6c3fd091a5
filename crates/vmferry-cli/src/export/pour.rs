//! A plan written from its first byte to its last: into a pipe.

use std::io::{self, Write};
use std::ops::{ControlFlow, Range};

use anyhow::{Context, Result, bail};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSource};

use super::{CANNOT_WRITE, Extent, Plan};

/// As much is gathered before it is written.
const BUFFER: usize = 1 << 20;

/// Writes it.
///
/// # Errors
/// A page is damaged, or nobody takes it.
pub fn pour<S: PageSource>(plan: &Plan, source: &S, out: &mut impl Write) -> Result<()> {
    enum Item<'a> {
        Text(&'a [u8]),
        Extent(&'a Extent),
    }
    let texts = plan.texts.iter().map(|(at, text)| (*at, Item::Text(text)));
    let extents = plan
        .extents
        .iter()
        .map(|extent| (extent.at, Item::Extent(extent)));
    let mut items: Vec<_> = texts.chain(extents).collect();
    items.sort_by_key(|(at, _)| *at);
    let mut jug = Jug {
        out,
        buffer: Vec::with_capacity(BUFFER),
        at: 0,
    };
    for (at, item) in items {
        jug.zeros_until(at)?;
        match item {
            Item::Text(text) => jug.put(text)?,
            Item::Extent(extent) => jug.extent(extent, source)?,
        }
    }
    jug.zeros_until(plan.len)?;
    jug.flush()
}

struct Jug<'a, W> {
    out: &'a mut W,
    buffer: Vec<u8>,
    at: u64,
}

impl<W: Write> Jug<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn zeros_until(&mut self, end: u64) -> Result<()> {
        const ZEROS: &[u8] = &[0; 64 << 10];
        if end < self.at {
            bail!("two things would stand at {end:#x} of the file");
        }
        while self.at < end {
            let len = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            self.put(&ZEROS[..len.min(ZEROS.len())])?;
        }
        Ok(())
    }

    fn extent<S: PageSource>(&mut self, extent: &Extent, source: &S) -> Result<()> {
        let bits = source.page_size().bits();
        let (mut page, pages) = (extent.offset >> bits, extent.len >> bits);
        let end = page + pages;
        // In pieces, so that a large hole is not written in one go: a pass may end before each.
        while page < end {
            let piece = page..end.min(page + (BUFFER as u64 >> bits));
            page = piece.end;
            self.piece(extent.block, piece, source)?;
        }
        Ok(())
    }

    /// Pages of a block; those that are zero, or not shown, as zeros.
    fn piece<S: PageSource>(
        &mut self,
        block: BlockIndex,
        pages: Range<u64>,
        source: &S,
    ) -> Result<()> {
        let (begin, bits) = (self.at, source.page_size().bits());
        let place = |page| begin + ((page - pages.start) << bits);
        let mut put = Ok(());
        let shown = source.pages_of(
            block,
            PageIndex(pages.start)..PageIndex(pages.end),
            &mut |page, content| {
                if let Page::Data(data) = content {
                    let before = self.zeros_until(place(page.0));
                    put = before.and_then(|()| self.put(data));
                }
                match put {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            },
        );
        put?;
        shown.context("the memory cannot be read")?;
        self.zeros_until(place(pages.end))
    }

    fn flush(&mut self) -> Result<()> {
        let written = self
            .out
            .write_all(&self.buffer)
            .and_then(|()| self.out.flush());
        self.buffer.clear();
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => {
                anyhow::Error::from(error).context("whoever reads the memory has gone")
            }
            _ => anyhow::Error::from(error).context(CANNOT_WRITE),
        })
    }
}
