//! The pages of a mapped-ram file, read from its beginning to its end.
//!
//! Each block's bitmap comes before its pages, and the blocks one after the other, so that one pass
//! is enough, also through a pipe.
//!
//! QEMU writes the bitmaps last. Where that never happened they are clear, and whether it did is known only
//! at the end of the RAM, after the pages. So in rescue mode the pages of a block whose bitmap is clear are
//! shown as they are there, and shown again as zeros if the end does come.

use super::blocks::BlockTable;
use crate::error::{Error, FormatError};
use crate::load::report::Report;
use crate::load::source::Source;
use crate::load::{
    AssumptionKind, BitmapWords, Encoding, LoadError, MappedPages, Mode, PageCounts, Visitor,
};
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks, is_zero};
use crate::wire::mapped_ram::{Bitmap, Header};
use crate::wire::ram;

const WHAT: &str = "a mapped-ram file";

/// How pages are found in a mapped-ram file.
pub(super) struct MappedRam {
    /// Where the stream begins in its file.
    file_offset: u64,
    bitmap_words: BitmapWords,
    unwritten: Vec<UnwrittenBitmap>,
}

/// A block whose pages were shown although its bitmap says that there are none.
struct UnwrittenBitmap {
    block: BlockIndex,
    /// The pages that were shown and are not zeros.
    shown: Bitmap,
    offset: u64,
}

impl MappedRam {
    pub(super) fn new(file_offset: u64, bitmap_words: BitmapWords) -> Self {
        Self {
            file_offset,
            bitmap_words,
            unwritten: Vec::new(),
        }
    }

    /// Reads the blocks of a list, of `total` bytes together, each with its pages.
    pub(super) fn read_blocks<V: Visitor>(
        &mut self,
        table: &mut BlockTable,
        report: &mut Report<'_, V>,
        source: &mut impl Source,
        total: u64,
    ) -> Result<(), LoadError<V::Error>> {
        table.begin_list(source.position())?;
        let page_size = table.page_size();
        let mut listed = RamBlocks::default();
        let mut left = total;
        while left > 0 {
            let index = table.read_block(report, source, &mut listed, left)?;
            let Some(block) = table.blocks().get(index) else {
                break; // It was read just now.
            };
            left -= block.used_length;
            let pages = block.pages(page_size);
            self.read_pages(report, source, page_size, index, pages)?;
        }
        Ok(())
    }

    fn read_pages<V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut impl Source,
        page_size: PageSize,
        block: BlockIndex,
        pages: u64,
    ) -> Result<(), LoadError<V::Error>> {
        let header = Header::decode(source, page_size)?;
        self.skip_gap(source, header.bitmap)?;
        let offset = source.position();
        let bitmap = Bitmap::decode(source, pages, self.bitmap_words)?;
        self.skip_gap(source, header.pages)?;
        let page_len = page_size.bytes();
        if report.mode() == Mode::Rescue && bitmap.is_clear() {
            let mut shown = Bitmap::new(pages, offset)?;
            let read = show_unwritten(report, source, page_len, block, pages, &mut shown);
            self.unwritten.push(UnwrittenBitmap {
                block,
                shown,
                offset,
            });
            return read;
        }
        let offset = source.position();
        let asked = report.show(|visitor| visitor.mapped_block(block, &bitmap, offset))?;
        if asked == MappedPages::Skip {
            let there = (0..pages).filter(|page| bitmap.has(*page)).count() as u64;
            report.count(PageCounts {
                pages,
                zero: pages - there,
                ..PageCounts::default()
            });
            // The block has less than 2^52 bytes.
            source.skip(pages * page_len as u64, "the pages of a block")?;
            return Ok(());
        }
        for page in 0..pages {
            report.count(PageCounts::PAGE);
            let origin = report.origin(source.position(), page_len as u64, Encoding::MappedRam);
            let data = source.take(page_len, "a page")?;
            let content = if bitmap.has(page) {
                Page::Data(data)
            } else {
                report.count(PageCounts::ZERO);
                Page::Zero
            };
            report.show(|visitor| visitor.page(block, PageIndex(page), content, origin))?;
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

    /// The RAM has ended, at offset `at`, if `with_bitmaps` with the end of its section: QEMU writes the bitmaps with
    /// that, last. It does not in a background snapshot, and would restore zeros from it.
    pub(super) fn end<V: Visitor>(
        &mut self,
        table: &BlockTable,
        report: &mut Report<'_, V>,
        ram_end: RamEnd,
        at: u64,
    ) -> Result<(), LoadError<V::Error>> {
        let unwritten = std::mem::take(&mut self.unwritten);
        if ram_end == RamEnd::There {
            let mut blocks = unwritten.iter();
            return blocks.try_for_each(|block| take_back(table, report, block));
        }
        if report.mode() == Mode::Strict {
            let expected = "the end of the section 'ram', with which the bitmaps are written";
            let found = "none: a background snapshot with mapped-ram holds no memory";
            let error = FormatError::unexpected(at, WHAT, expected, found);
            return Err(Error::from(error).into());
        }
        for unwritten in unwritten.iter().filter(|block| !block.shown.is_clear()) {
            let block = table.blocks().get(unwritten.block);
            let block = block.map_or("", |block| &block.idstr).into();
            let kind = AssumptionKind::BitmapNotWritten { block };
            report.assume(unwritten.offset, Some(ram::IDSTR), kind)?;
        }
        Ok(())
    }
}

/// Whether the `ram` section has an END.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RamEnd {
    There,
    Missing,
}

/// Shows what is in the place of a block's pages, and notes which of them are not zeros.
fn show_unwritten<V: Visitor>(
    report: &mut Report<'_, V>,
    source: &mut impl Source,
    page_len: usize,
    block: BlockIndex,
    pages: u64,
    shown: &mut Bitmap,
) -> Result<(), LoadError<V::Error>> {
    for page in 0..pages {
        report.count(PageCounts::PAGE);
        let origin = report.origin(source.position(), page_len as u64, Encoding::MappedRam);
        let data = source.take(page_len, "a page")?;
        let content = if is_zero(data) {
            report.count(PageCounts::ZERO);
            Page::Zero
        } else {
            shown.set(page);
            Page::Data(data)
        };
        report.show(|visitor| visitor.page(block, PageIndex(page), content, origin))?;
    }
    Ok(())
}

/// Shows those pages as zeros that were shown and do not count.
fn take_back<V: Visitor>(
    table: &BlockTable,
    report: &mut Report<'_, V>,
    unwritten: &UnwrittenBitmap,
) -> Result<(), LoadError<V::Error>> {
    let pages = table.blocks().get(unwritten.block);
    let pages = pages.map_or(0, |block| block.pages(table.page_size()));
    for page in (0..pages).filter(|page| unwritten.shown.has(*page)) {
        report.count(PageCounts::ZERO);
        let origin = report.origin(unwritten.offset, 0, Encoding::MappedRam);
        let (block, page) = (unwritten.block, PageIndex(page));
        report.show(|visitor| visitor.page(block, page, Page::Zero, origin))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::source::Input;
    use crate::load::test_log::Log;
    use crate::wire::ram::ListFields;
    use crate::wire::{Sink, SliceSource, Source as _};

    /// A list of one block of three pages, in a file in which the stream begins at `offset`: of the pages, the bitmap
    /// has those of `bits`, and the second is not zeros.
    fn file(offset: u64, bits: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_name("pc.ram");
        bytes.put(&0x3000_u64.to_be_bytes());
        let bitmap = bytes.len() + crate::wire::mapped_ram::LEN;
        let header = Header {
            bitmap: bitmap as u64 + offset,
            pages: 0x10_0000 + offset,
        };
        header.encode(PageSize::X86, &mut bytes);
        bytes.put(&[bits, 0, 0, 0, 0, 0, 0, 0]);
        bytes.resize(0x10_0000, 0);
        bytes.resize(0x10_1000, 0);
        bytes.resize(0x10_2000, 7);
        bytes.resize(0x10_3000, 0);
        bytes
    }

    struct Pass {
        table: BlockTable,
        mapped: MappedRam,
        log: Log,
    }

    impl Pass {
        fn new(offset: u64) -> Self {
            Self {
                table: BlockTable::new(PageSize::X86, ListFields::Plain),
                mapped: MappedRam::new(offset, BitmapWords::default()),
                log: Log::default(),
            }
        }

        /// Reads all blocks and ends the RAM, and returns how many pages came, and how many of them are zeros.
        fn run(&mut self, mode: Mode, end: RamEnd, bytes: &[u8]) -> Result<(u64, u64), String> {
            let mut report = Report::new(&mut self.log, mode);
            let mut source = Input(SliceSource::new(bytes));
            let (table, mapped) = (&mut self.table, &mut self.mapped);
            let read = mapped
                .read_blocks(table, &mut report, &mut source, 0x3000)
                .and_then(|()| mapped.end(table, &mut report, end, source.position()));
            read.map_err(|error| error.to_string())?;
            assert_eq!(source.rest(), b"");
            let summary = report.into_summary();
            Ok((summary.pages, summary.zero_pages))
        }

        /// The pages that were shown, in order.
        fn pages(&self) -> Vec<&str> {
            let pages = self.log.events.iter().filter_map(|event| {
                let page = event.strip_prefix("page 0:")?;
                page.split_once(',').map(|(page, _)| page)
            });
            pages.collect()
        }
    }

    #[test]
    fn pages_are_where_the_header_says_and_zeros_where_the_bitmap_is_clear() {
        for offset in [0, 0x20_0000] {
            let mut pass = Pass::new(offset);
            let counts = pass.run(Mode::Strict, RamEnd::There, &file(offset, 0b010));
            assert_eq!(counts, Ok((3, 2)));
            assert_eq!(pass.pages(), ["0 zeros", "1 07 x 4096", "2 zeros"]);
        }
        let error = Pass::new(0x20_0000).run(Mode::Strict, RamEnd::There, &file(0, 1));
        let error = error.unwrap_err();
        assert!(
            error.contains("an offset in the file behind 0x20"),
            "{error}"
        );
    }

    #[test]
    fn who_only_wants_to_know_where_pages_are_is_not_shown_them() {
        let mut pass = Pass::new(0);
        pass.log.skips_mapped_pages = true;
        let counts = pass.run(Mode::Strict, RamEnd::There, &file(0, 0b011));
        assert_eq!(counts, Ok((3, 1)));
        assert_eq!(
            pass.log.events,
            ["blocks pc.ram", "mapped block 0 at 1048576"]
        );
    }

    #[test]
    fn without_the_end_of_the_ram_the_bitmaps_mean_nothing() {
        let error = Pass::new(0).run(Mode::Strict, RamEnd::Missing, &file(0, 0));
        assert!(error.unwrap_err().contains("holds no memory"));

        let mut pass = Pass::new(0);
        let counts = pass.run(Mode::Rescue, RamEnd::Missing, &file(0, 0));
        assert_eq!(counts, Ok((3, 2)));
        assert_eq!(pass.pages(), ["0 zeros", "1 07 x 4096", "2 zeros"]);
        let last = pass.log.events.last().unwrap();
        assert!(last.contains("the bitmap of RAM block 'pc.ram' was never written"));
    }

    #[test]
    fn pages_that_a_clear_bitmap_does_not_have_are_taken_back_at_the_end() {
        let mut pass = Pass::new(0);
        let counts = pass.run(Mode::Rescue, RamEnd::There, &file(0, 0));
        assert_eq!(counts, Ok((3, 3)));
        assert_eq!(
            pass.pages(),
            ["0 zeros", "1 07 x 4096", "2 zeros", "1 zeros"]
        );
    }
}
