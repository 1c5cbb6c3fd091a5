//! The pages of a mapped-ram file, read from its beginning to its end.
//!
//! Each block's bitmap stands before its pages, and the blocks one behind the other, so that one pass
//! is enough, also through a pipe.
//!
//! QEMU writes the bitmaps last. Where that never happened they are clear, and whether it did is known only
//! at the end of the RAM, behind the pages. So in rescue mode the pages of a block whose bitmap is clear are
//! shown as they stand there, and shown again as zeros if the end does come.

use super::pass::Pass;
use super::{AssumptionKind, Encoding, LoadError, MappedPages, Mode, PageCounts, Visitor};
use crate::error::{Error, FormatError};
use crate::ram::{BlockIndex, Page, PageIndex, RamBlocks, is_zero};
use crate::wire::mapped_ram::{Bitmap, Header};
use crate::wire::{Source, ram};

const WHAT: &str = "a mapped-ram file";

/// A block whose pages were shown although its bitmap says that there are none.
pub(super) struct Unwritten {
    block: BlockIndex,
    shown: Bitmap,
    offset: u64,
}

impl<V: Visitor> Pass<'_, V> {
    /// Reads the blocks of a list, of `total` bytes together, each with its pages.
    pub(super) fn mapped_blocks(
        &mut self,
        source: &mut impl Source,
        total: u64,
    ) -> Result<(), LoadError<V::Error>> {
        self.count_list(source.position())?;
        let mut listed = RamBlocks::default();
        let mut left = total;
        while left > 0 {
            let at = source.position();
            let fields = self.list_fields;
            let block = ram::decode_block(source, &mut listed, left, self.page_size, fields)?;
            left -= block.used_length;
            let pages = block.pages(self.page_size);
            let index = self.add_block(block, &listed);
            self.show_blocks(at)?;
            self.mapped_pages(source, index, pages)?;
        }
        Ok(())
    }

    fn mapped_pages(
        &mut self,
        source: &mut impl Source,
        block: BlockIndex,
        pages: u64,
    ) -> Result<(), LoadError<V::Error>> {
        let header = Header::decode(source, self.page_size)?;
        self.skip_gap(source, header.bitmap)?;
        let offset = source.position();
        let bitmap = Bitmap::decode(source, pages, self.bitmap_words)?;
        self.skip_gap(source, header.pages)?;
        if self.report.mode() == Mode::Rescue && bitmap.is_clear() {
            let shown = Bitmap::new(pages, offset).map_err(Error::from)?;
            self.unwritten.push(Unwritten {
                block,
                shown,
                offset,
            });
            return self.unwritten_pages(source, block, pages);
        }
        let page_len = self.page_size.bytes();
        let offset = source.position();
        let asked = self
            .report
            .show(|visitor| visitor.mapped_block(block, &bitmap, offset))?;
        if asked == MappedPages::Skip {
            let there = (0..pages).filter(|page| bitmap.has(*page)).count() as u64;
            self.report.count(PageCounts {
                pages,
                zero: pages - there,
                ..PageCounts::default()
            });
            // The block has less than 2^52 bytes.
            source.skip(pages * page_len as u64, "the pages of a block")?;
            return Ok(());
        }
        for page in 0..pages {
            self.report.count(PageCounts::PAGE);
            let origin =
                self.report
                    .origin(source.position(), page_len as u64, Encoding::MappedRam);
            let data = source.take(page_len, "a page")?;
            let content = if bitmap.has(page) {
                Page::Data(data)
            } else {
                self.report.count(PageCounts::ZERO);
                Page::Zero
            };
            self.report
                .show(|visitor| visitor.page(block, PageIndex(page), content, origin))?;
        }
        Ok(())
    }

    /// Shows what stands in the place of a block's pages, and remembers which of them are not zeros.
    fn unwritten_pages(
        &mut self,
        source: &mut impl Source,
        block: BlockIndex,
        pages: u64,
    ) -> Result<(), LoadError<V::Error>> {
        let page_len = self.page_size.bytes();
        for page in 0..pages {
            self.report.count(PageCounts::PAGE);
            let origin =
                self.report
                    .origin(source.position(), page_len as u64, Encoding::MappedRam);
            let data = source.take(page_len, "a page")?;
            let content = if is_zero(data) {
                self.report.count(PageCounts::ZERO);
                Page::Zero
            } else {
                if let Some(last) = self.unwritten.last_mut() {
                    last.shown.set(page);
                }
                Page::Data(data)
            };
            self.report
                .show(|visitor| visitor.page(block, PageIndex(page), content, origin))?;
        }
        Ok(())
    }

    /// Goes on at an offset of the file.
    fn skip_gap(&self, source: &mut impl Source, offset: u64) -> Result<(), Error> {
        let at = source.position();
        let target = offset.checked_sub(self.file_offset);
        let Some(left) = target.and_then(|target| target.checked_sub(at)) else {
            let here = at.saturating_add(self.file_offset);
            let expected = format!("an offset in the file behind {here:#x}");
            let found = format!("{offset:#x}");
            return Err(FormatError::unexpected(at, WHAT, expected, found).into());
        };
        source.skip(left, "the gap before the pages of a mapped-ram block")?;
        Ok(())
    }

    /// At the end of the RAM: whether its bitmaps were written, which QEMU does last. It does not in a
    /// background snapshot, and would restore zeros from it.
    pub(super) fn end_of_pages(&mut self, at: u64) -> Result<(), LoadError<V::Error>> {
        if !self.mapped {
            return Ok(());
        }
        let unwritten = std::mem::take(&mut self.unwritten);
        if self.summary.ram_ended {
            return unwritten.iter().try_for_each(|block| self.take_back(block));
        }
        if self.report.mode() == Mode::Strict {
            let expected = "the end of the section 'ram', with which the bitmaps are written";
            let found = "none: a background snapshot with mapped-ram holds no memory";
            let error = FormatError::unexpected(at, WHAT, expected, found);
            return Err(Error::from(error).into());
        }
        for unwritten in unwritten.iter().filter(|block| !block.shown.is_clear()) {
            let block = self.blocks.get(unwritten.block);
            let block = block.map_or("", |block| &block.idstr).into();
            let kind = AssumptionKind::BitmapNotWritten { block };
            self.report
                .assume(unwritten.offset, Some(ram::IDSTR), kind)?;
        }
        Ok(())
    }

    /// Shows those pages as zeros that stood there and did not count.
    fn take_back(&mut self, unwritten: &Unwritten) -> Result<(), LoadError<V::Error>> {
        let pages = self.blocks.get(unwritten.block);
        let pages = pages.map_or(0, |block| block.pages(self.page_size));
        for page in (0..pages).filter(|page| unwritten.shown.has(*page)) {
            self.report.count(PageCounts::ZERO);
            let origin = self.report.origin(unwritten.offset, 0, Encoding::MappedRam);
            self.report.show(|visitor| {
                visitor.page(unwritten.block, PageIndex(page), Page::Zero, origin)
            })?;
        }
        Ok(())
    }
}
