//! The pages of a mapped-ram file, read from its beginning to its end.
//!
//! Each block's bitmap stands before its pages, and the blocks one behind the other, so that one pass
//! is enough, also through a pipe.

use super::pass::Pass;
use super::{LoadError, Visitor};
use crate::error::{Error, FormatError};
use crate::ram::{BlockIndex, Page, PageIndex, RamBlocks};
use crate::wire::mapped_ram::{Bitmap, Header};
use crate::wire::{Source, limits, ram};

const WHAT: &str = "a mapped-ram file";

impl<S: Source, V: Visitor> Pass<'_, S, V> {
    /// Reads the blocks of a list, of `total` bytes together, each with its pages.
    pub(super) fn mapped_blocks(&mut self, total: u64) -> Result<(), LoadError<V::Error>> {
        let mut listed = RamBlocks::default();
        let mut left = total;
        while left > 0 {
            let at = self.source.position();
            let fields = self.list_fields;
            let block = ram::decode_block(self.source, &listed, left, self.page_size, fields)?;
            left -= block.used_length;
            listed.insert(block.clone());
            let pages = block.pages(self.page_size);
            let index = self.blocks.insert(block);
            self.show_blocks(at)?;
            self.mapped_pages(index, pages)?;
        }
        Ok(())
    }

    fn mapped_pages(&mut self, block: BlockIndex, pages: u64) -> Result<(), LoadError<V::Error>> {
        let header = Header::decode(self.source, self.page_size)?;
        self.skip_to(header.bitmap)?;
        let bitmap = Bitmap::decode(self.source, pages)?;
        self.skip_to(header.pages)?;
        let page_len = self.page_size.bytes();
        for page in 0..pages {
            self.summary.pages += 1;
            let data = self.source.take(page_len, "a page")?;
            let content = if bitmap.has(page) {
                Page::Data(data)
            } else {
                self.summary.zero_pages += 1;
                Page::Zero
            };
            self.visitor
                .page(block, PageIndex(page), content)
                .map_err(LoadError::Visitor)?;
        }
        Ok(())
    }

    /// Goes on at an offset of the file.
    fn skip_to(&mut self, offset: u64) -> Result<(), Error> {
        let at = self.source.position();
        let target = offset.checked_sub(self.file_offset);
        let Some(mut left) = target.and_then(|target| target.checked_sub(at)) else {
            let here = at.saturating_add(self.file_offset);
            let expected = format!("an offset in the file behind {here:#x}");
            let found = format!("{offset:#x}");
            return Err(FormatError::unexpected(at, WHAT, expected, found).into());
        };
        while left > 0 {
            let piece = usize::try_from(left).map_or(limits::TAKE, |left| left.min(limits::TAKE));
            self.source
                .take(piece, "the gap before the pages of a mapped-ram block")?;
            left -= piece as u64;
        }
        Ok(())
    }

    /// At the end of the RAM: whether its bitmaps were written, which QEMU does last. It does not in a
    /// background snapshot, and would restore zeros from it.
    pub(super) fn is_finished(&self) -> Result<(), Error> {
        if !self.mapped || self.summary.ram_ended {
            return Ok(());
        }
        let expected = "the end of the section 'ram', with which the bitmaps are written";
        let found = "none: a background snapshot with mapped-ram holds no memory";
        Err(FormatError::unexpected(self.source.position(), WHAT, expected, found).into())
    }
}
