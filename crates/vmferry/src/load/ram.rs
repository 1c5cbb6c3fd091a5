//! The records of a `ram` section.

use super::pass::Pass;
use super::{LoadError, Visitor};
use crate::error::{Error, FormatError};
use crate::ram::{BlockIndex, Page, PageIndex};
use crate::wire::ram::{self, BlockRef, Record, RecordKind};
use crate::wire::{Source, limits, xbzrle};

impl<S: Source, V: Visitor> Pass<'_, S, V> {
    /// Reads records up to and including EOS.
    pub(super) fn ram_records(&mut self) -> Result<(), LoadError<V::Error>> {
        let page_len = self.page_size.bytes();
        loop {
            let at = self.source.position();
            let word = self.source.be64("a RAM record")?;
            let record = Record::from_word(word, self.page_size).map_err(|flags| {
                let expected = "exactly one kind";
                let found = format!("unknown combination of flags {flags:#x}");
                Error::from(FormatError::unexpected(at, "a RAM record", expected, found))
            })?;
            if self.mapped && !matches!(record.kind, RecordKind::MemSize | RecordKind::Eos) {
                let expected = "no pages besides those of the blocks (mapped-ram)";
                let found = format!("unexpected RAM flags in {word:#x}");
                let error = FormatError::unexpected(at, "a RAM record", expected, found);
                return Err(Error::from(error).into());
            }
            match record.kind {
                RecordKind::Page => {
                    let (block, page) = self.page_of(record, at)?;
                    self.summary.pages += 1;
                    let data = self.source.take(page_len, "a page")?;
                    self.visitor
                        .page(block, page, Page::Data(data))
                        .map_err(LoadError::Visitor)?;
                }
                RecordKind::Zero => {
                    let (block, page) = self.page_of(record, at)?;
                    self.zero_fill()?;
                    self.summary.pages += 1;
                    self.summary.zero_pages += 1;
                    self.visitor
                        .page(block, page, Page::Zero)
                        .map_err(LoadError::Visitor)?;
                }
                RecordKind::Eos => return Ok(()),
                RecordKind::MemSize if self.mapped => self.mapped_blocks(record.offset)?,
                RecordKind::MemSize => self.block_list(record.offset)?,
                // A meeting point of multifd channels: without such channels, nothing.
                RecordKind::MultifdFlush => {}
                RecordKind::Xbzrle => {
                    let (block, page) = self.page_of(record, at)?;
                    self.summary.pages += 1;
                    self.summary.xbzrle_pages += 1;
                    let differences = xbzrle::record(self.source, page_len)?;
                    self.visitor
                        .differences(block, page, differences)
                        .map_err(LoadError::Visitor)?;
                }
                RecordKind::CompressPage => {
                    let (block, page) = self.page_of(record, at)?;
                    self.summary.pages += 1;
                    self.summary.compressed_pages += 1;
                    let data = self.inflater.record(self.source, page_len)?;
                    self.visitor
                        .page(block, page, Page::Data(data))
                        .map_err(LoadError::Visitor)?;
                }
                RecordKind::Hook => return Err(unsupported(at, "RAM sent by RDMA")),
            }
        }
    }

    /// The byte that QEMU 8.2 and later insist on; older ones fill the page with it.
    fn zero_fill(&mut self) -> Result<(), Error> {
        let at = self.source.position();
        match self.source.u8("a zero page")? {
            0 => Ok(()),
            fill => {
                Err(FormatError::unexpected(at, "the fill byte of a zero page", "0", fill).into())
            }
        }
    }

    fn block_list(&mut self, total: u64) -> Result<(), LoadError<V::Error>> {
        let at = self.source.position();
        let list = ram::decode_blocks(self.source, total, self.page_size, self.list_fields)?;
        for (_, block) in list.iter() {
            self.blocks.insert(block.clone());
        }
        self.show_blocks(at)
    }

    /// Shows the blocks, of which there are more than before.
    pub(super) fn show_blocks(&mut self, at: u64) -> Result<(), LoadError<V::Error>> {
        const WHAT: &str = "the list of RAM blocks";
        // Each list is within its limits; what several of them add up to must be, too.
        let (count, limit) = (self.blocks.len(), limits::RAM_BLOCKS);
        if count > limit {
            let error = FormatError::too_long(at, WHAT, count as u64, limit as u64);
            return Err(Error::from(error).into());
        }
        if self.blocks.checked_total_length().is_none() {
            let expected = "all RAM blocks together below 2^64 bytes";
            let error = FormatError::unexpected(at, WHAT, expected, "more");
            return Err(Error::from(error).into());
        }
        self.current = None;
        let blocks = &self.blocks;
        self.visitor
            .ram_blocks(blocks, self.page_size)
            .map_err(LoadError::Visitor)
    }

    #[inline]
    fn page_of(&mut self, record: Record, at: u64) -> Result<(BlockIndex, PageIndex), Error> {
        let index = match (record.block, self.current) {
            (BlockRef::Continue, Some(index)) => index,
            (BlockRef::Continue, None) => {
                let expected = "the name of a block before the first CONTINUE";
                return Err(FormatError::unexpected(at, "a RAM record", expected, "none").into());
            }
            (BlockRef::Named, _) => {
                let at = self.source.position();
                let name = self.source.name("the RAM block of a page")?;
                let Some(index) = self.blocks.find(name) else {
                    let what = "the RAM block of a page";
                    let found = format!("'{name}'");
                    let expected = "a block of the list";
                    return Err(FormatError::unexpected(at, what, expected, found).into());
                };
                self.current = Some(index);
                index
            }
        };
        let used = self.blocks.get(index).map_or(0, |block| block.used_length);
        if record.offset >= used {
            let what = "the offset of a page";
            let expected = format!("one below the block's length {used:#x}");
            let found = format!("{:#x}", record.offset);
            return Err(FormatError::unexpected(at, what, expected, found).into());
        }
        Ok((index, PageIndex(record.offset >> self.page_size.bits())))
    }
}

fn unsupported<E>(at: u64, what: &'static str) -> LoadError<E> {
    Error::from(FormatError::unsupported(at, what)).into()
}
