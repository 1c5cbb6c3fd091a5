//! A plan written from its first byte to its last: into a pipe.

use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::{Context, Result, bail};
use vmferry::ram::{Page, PageIndex, PageSource};

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
        let page_size = source.page_size();
        let begin = self.at;
        let first = extent.offset >> page_size.bits();
        let pages = first..first + (extent.len >> page_size.bits());
        let mut put = Ok(());
        let shown = source.pages_of(
            extent.block,
            PageIndex(pages.start)..PageIndex(pages.end),
            &mut |page, content| {
                put = match content {
                    // Zeros are written when something else follows, as are pages that are not shown.
                    Page::Zero => Ok(()),
                    Page::Data(data) => self
                        .zeros_until(begin + ((page.0 - first) << page_size.bits()))
                        .and_then(|()| self.put(data)),
                };
                match put {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            },
        );
        put?;
        shown.context("the memory cannot be read")?;
        self.zeros_until(begin + extent.len)
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
