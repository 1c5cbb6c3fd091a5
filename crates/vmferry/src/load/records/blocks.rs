//! The RAM blocks of a machine, as its lists give them.

use crate::error::{Error, FormatError};
use crate::load::report::Report;
use crate::load::source::Source;
use crate::load::{LoadError, Visitor};
use crate::ram::{BlockIndex, PageIndex, PageSize, RamBlock, RamBlocks};
use crate::wire::limits;
use crate::wire::ram::{self, BlockRef, ListFields, Record};
use crate::work;

/// The blocks of all lists so far. Each list is within its limits; the table sees to it that all of them together
/// are, too.
pub(super) struct BlockTable {
    page_size: PageSize,
    fields: ListFields,
    blocks: RamBlocks,
    /// The block of the page record before on this channel: CONTINUE means it, also across sections.
    current: Option<BlockIndex>,
    lists: usize,
    /// How many blocks the visitor was shown, each as often as it was.
    shown: usize,
}

impl BlockTable {
    pub(super) fn new(page_size: PageSize, fields: ListFields) -> Self {
        Self {
            page_size,
            fields,
            blocks: RamBlocks::default(),
            current: None,
            lists: 0,
            shown: 0,
        }
    }

    #[inline]
    pub(super) fn page_size(&self) -> PageSize {
        self.page_size
    }

    #[inline]
    pub(super) fn blocks(&self) -> &RamBlocks {
        &self.blocks
    }

    /// The block of the page record before.
    pub(super) fn current(&self) -> Option<BlockIndex> {
        self.current
    }

    /// The next page record must name its block.
    pub(super) fn forget_current(&mut self) {
        self.current = None;
    }

    /// What lists say about a block from now on.
    pub(super) fn set_fields(&mut self, fields: ListFields) {
        self.fields = fields;
    }

    /// Reads a list of blocks of `total` bytes together, and shows the table.
    pub(super) fn read_list<V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut impl Source,
        total: u64,
    ) -> Result<(), LoadError<V::Error>> {
        let at = source.position();
        self.begin_list(at)?;
        let list = ram::decode_blocks(source, total, self.page_size, self.fields)?;
        for (_, block) in list.iter() {
            self.add(block.clone(), &list);
        }
        self.show(report, at)
    }

    /// Reads the next block of a list that has come as far as `listed`, where `left` bytes are left for it and those
    /// after it. Shows the table.
    pub(super) fn read_block<V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut impl Source,
        listed: &mut RamBlocks,
        left: u64,
    ) -> Result<BlockIndex, LoadError<V::Error>> {
        let at = source.position();
        let block = ram::decode_block(source, listed, left, self.page_size, self.fields)?;
        let index = self.add(block, listed);
        self.show(report, at)?;
        Ok(index)
    }

    /// The place of the page in `record`, which begins at offset `at`; the name of its block comes next.
    #[inline]
    pub(super) fn page_of(
        &mut self,
        source: &mut impl Source,
        record: Record,
        at: u64,
    ) -> Result<(BlockIndex, PageIndex), Error> {
        let index = match (record.block, self.current) {
            (BlockRef::Continue, Some(index)) => index,
            (BlockRef::Continue, None) => {
                let expected = "the name of a block before the first CONTINUE";
                return Err(FormatError::unexpected(at, "a RAM record", expected, "none").into());
            }
            (BlockRef::Named, _) => {
                let at = source.position();
                let name = source.name("the RAM block of a page")?;
                let Some(index) = self.blocks.find(name) else {
                    let what = "the RAM block of a page";
                    let found = format!("'{name}'");
                    let expected = "a block of the list";
                    // Those that go on with it belong nowhere, too.
                    self.current = None;
                    return Err(FormatError::unexpected(at, what, expected, found).into());
                };
                self.current = Some(index);
                index
            }
        };
        let block = self.blocks.get(index);
        let used = block.map_or(0, |block| block.used_length);
        if record.offset >= used {
            let what = "the offset of a page";
            let expected = format!("one below the block's length {used:#x}");
            let found = format!("illegal RAM offset {:#x}", record.offset);
            return Err(FormatError::unexpected(at, what, expected, found).into());
        }
        Ok((index, PageIndex(record.offset >> self.page_size.bits())))
    }

    /// Counts the lists: a visitor may make room for all of the RAM with each.
    pub(super) fn begin_list(&mut self, at: u64) -> Result<(), FormatError> {
        let limit = limits::RAM_LISTS;
        self.lists += 1;
        if self.lists <= limit {
            return Ok(());
        }
        let what = "the lists of RAM blocks";
        let (len, limit) = (self.lists as u64, limit as u64);
        Err(FormatError::too_long(at, what, len, limit))
    }

    fn add(&mut self, block: RamBlock, list: &RamBlocks) -> BlockIndex {
        let address = list
            .find(&block.idstr)
            .and_then(|index| list.address(index));
        let index = self.blocks.insert(block);
        self.blocks.set_address(index, address);
        index
    }

    fn show<V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        at: u64,
    ) -> Result<(), LoadError<V::Error>> {
        self.check(at)?;
        let (blocks, page_size) = (&self.blocks, self.page_size);
        report.show(|visitor| visitor.ram_blocks(blocks, page_size))
    }

    /// Holds all lists together against the limits, and counts what is shown.
    fn check(&mut self, at: u64) -> Result<(), FormatError> {
        const WHAT: &str = "the list of RAM blocks";
        let (count, limit) = (self.blocks.len(), limits::RAM_BLOCKS);
        if count > limit {
            return Err(FormatError::too_long(at, WHAT, count as u64, limit as u64));
        }
        // Visitors look at all of them each time.
        work::count(count);
        self.shown = self.shown.saturating_add(count);
        let (shown, limit) = (self.shown, limits::RAM_BLOCKS_LISTED);
        if shown > limit {
            let what = "the lists of RAM blocks, one after the other";
            return Err(FormatError::too_long(at, what, shown as u64, limit as u64));
        }
        if self.blocks.checked_total_length().is_none() {
            let expected = "all RAM blocks together below 2^64 bytes";
            return Err(FormatError::unexpected(at, WHAT, expected, "more"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Mode;
    use crate::load::source::Input;
    use crate::load::test_log::Log;
    use crate::wire::{Sink, SliceSource};

    /// The blocks of a list after the record that begins it.
    fn list(blocks: &[(&str, u64)]) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        for (name, length) in blocks {
            bytes.put_name(name);
            bytes.put(&length.to_be_bytes());
        }
        (bytes, blocks.iter().map(|(_, length)| length).sum())
    }

    fn read(table: &mut BlockTable, log: &mut Log, blocks: &[(&str, u64)]) -> Result<(), String> {
        let (bytes, total) = list(blocks);
        let mut report = Report::new(log, Mode::Strict);
        let read = table.read_list(&mut report, &mut Input(SliceSource::at(&bytes, 100)), total);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn a_later_list_adds_blocks_and_changes_lengths_and_all_are_shown_each_time() {
        let mut table = BlockTable::new(PageSize::X86, ListFields::Plain);
        let mut log = Log::default();
        read(&mut table, &mut log, &[("pc.ram", 0x2000), ("rom", 0x1000)]).unwrap();
        read(&mut table, &mut log, &[("vga", 0x1000), ("pc.ram", 0x3000)]).unwrap();
        assert_eq!(log.events, ["blocks pc.ram rom", "blocks pc.ram rom vga"]);
        let blocks = table.blocks();
        let length = |name| {
            let index = blocks.find(name).unwrap();
            (index, blocks.get(index).unwrap().used_length)
        };
        assert_eq!(length("pc.ram"), (BlockIndex(0), 0x3000));
        assert_eq!(length("vga"), (BlockIndex(2), 0x1000));
    }

    #[test]
    fn a_list_of_the_same_few_blocks_comes_only_so_often() {
        let mut table = BlockTable::new(PageSize::X86, ListFields::Plain);
        let mut log = Log::default();
        for _ in 0..limits::RAM_LISTS {
            read(&mut table, &mut log, &[("pc.ram", 0x1000)]).unwrap();
        }
        let error = read(&mut table, &mut log, &[("pc.ram", 0x1000)]).unwrap_err();
        assert!(error.contains("the lists of RAM blocks"), "{error}");
        assert!(error.contains("at offset 0x64"), "{error}");
    }

    #[test]
    fn a_block_by_itself_is_shown_with_those_before_it() {
        let (bytes, total) = list(&[("pc.ram", 0x2000), ("rom", 0x1000)]);
        let mut source = Input(SliceSource::new(&bytes));
        let mut table = BlockTable::new(PageSize::X86, ListFields::Plain);
        let mut log = Log::default();
        let mut report = Report::new(&mut log, Mode::Strict);
        let mut listed = RamBlocks::default();
        let mut left = total;
        for index in [BlockIndex(0), BlockIndex(1)] {
            let read = table.read_block(&mut report, &mut source, &mut listed, left);
            assert_eq!(read.unwrap(), index);
            left -= table.blocks().get(index).unwrap().used_length;
        }
        assert_eq!((left, source.rest().len()), (0, 0));
        assert_eq!(log.events, ["blocks pc.ram", "blocks pc.ram rom"]);
    }
}
