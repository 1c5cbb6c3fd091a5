//! The records of a `ram` section, and of the channel that requested pages come through.

use super::multifd::Marks;
use super::pass::Pass;
use super::resync::Landmark;
use super::{AssumptionKind, ChannelName, Encoding, LoadError, Mode, Origin, PageCounts, Visitor};
use crate::error::{Error, FormatError, FormatErrorKind};
use crate::ram::{BlockIndex, Page, PageIndex, RamBlock, RamBlocks};
use crate::wire::ram::{self, BlockRef, Record, RecordKind};
use crate::wire::{Source, limits, xbzrle};
use crate::work;

/// Whether a record was the last one of its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    GoOn,
    End,
}

/// What the destination takes at this point of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Any record.
    Precopy,
    /// Pages as they are, because the guest runs and waits for them.
    Postcopy,
}

impl<V: Visitor> Pass<'_, V> {
    /// Reads records up to and including EOS, and the footer.
    pub(super) fn ram_section<T: Source>(
        &mut self,
        source: &mut T,
        section_id: u32,
    ) -> Result<(), LoadError<V::Error>> {
        loop {
            match self.ram_records(source) {
                Ok(()) => {
                    return self
                        .sections
                        .footer(&mut self.report, source, section_id, ram::IDSTR);
                }
                Err(LoadError::Read(error)) if self.report.rescues(&error) => {
                    let error = error.in_section(ram::IDSTR);
                    match self.resume(source, &error)? {
                        Some(Landmark::Records) => {}
                        // The footer is behind us, or nothing is there any more.
                        Some(Landmark::Element) | None => return Ok(()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn ram_records<T: Source>(&mut self, source: &mut T) -> Result<(), LoadError<V::Error>> {
        while self.record(source)? == Records::GoOn {}
        Ok(())
    }

    /// Reads the channel of requested pages: bare records, up to the end, or up to an EOS (QEMU 7.1 and
    /// 7.2).
    pub(super) fn preempt_channel(
        &mut self,
        source: &mut impl Source,
    ) -> Result<(), LoadError<V::Error>> {
        self.report.set_channel(ChannelName::Preempt);
        self.stage = Stage::Postcopy;
        self.current = None;
        while source.peek_u8()?.is_some() {
            if self.record(source)? == Records::End {
                source.expect_end();
                let left = source.peek_some()?.len() as u64;
                return match left {
                    0 => Ok(()),
                    left => {
                        let what = "the channel of requested pages";
                        let kind = FormatErrorKind::Trailing { what, left };
                        Err(Error::from(FormatError::new(source.position(), kind)).into())
                    }
                };
            }
        }
        Ok(())
    }

    #[inline]
    fn record<T: Source>(&mut self, source: &mut T) -> Result<Records, LoadError<V::Error>> {
        let page_len = self.page_size.bytes();
        let at = source.position();
        let word = source.be64("a RAM record")?;
        let record = match Record::from_word(word, self.page_size) {
            Ok(record) if self.takes(record.kind) => record,
            _ => return Err(self.refused(word, at).into()),
        };
        match record.kind {
            RecordKind::Page => {
                let (block, page) = match self.page_of(source, record, at) {
                    Ok(place) => place,
                    Err(error) => return self.drop_page(source, record, error),
                };
                self.report.count(PageCounts::PAGE);
                let origin = self
                    .report
                    .origin(source.position(), page_len as u64, Encoding::Page);
                let data = source.take(page_len, "a page")?;
                self.report
                    .show(|visitor| visitor.page(block, page, Page::Data(data), origin))?;
            }
            RecordKind::Zero => {
                let (block, page) = match self.page_of(source, record, at) {
                    Ok(place) => place,
                    Err(error) => return self.drop_page(source, record, error),
                };
                let origin = self.report.origin(source.position(), 1, Encoding::Zero);
                self.report.count(PageCounts::PAGE);
                let fill = source.u8("a zero page")?;
                if fill != 0 {
                    self.fill_page(block, page, fill, origin)?;
                    return Ok(Records::GoOn);
                }
                self.report.count(PageCounts::ZERO);
                self.report
                    .show(|visitor| visitor.page(block, page, Page::Zero, origin))?;
            }
            RecordKind::Eos => {
                if self.report.channel() == ChannelName::Main && self.marks != Marks::Flush {
                    self.marks = Marks::Eos;
                    self.meet()?;
                }
                return Ok(Records::End);
            }
            RecordKind::MemSize if self.mapped => self.mapped_blocks(source, record.offset)?,
            RecordKind::MemSize => self.block_list(source, record.offset)?,
            // A meeting point of multifd channels; without such channels, nothing.
            RecordKind::MultifdFlush => {
                if self.marks == Marks::Unknown {
                    self.marks = Marks::Flush;
                }
                if self.marks == Marks::Flush {
                    self.meet()?;
                }
            }
            RecordKind::Xbzrle => {
                let (block, page) = match self.page_of(source, record, at) {
                    Ok(place) => place,
                    Err(error) => return self.drop_page(source, record, error),
                };
                self.report.count(PageCounts {
                    xbzrle: 1,
                    ..PageCounts::PAGE
                });
                let offset = source.position();
                let differences = xbzrle::record(source, page_len)?;
                let bytes = differences.len() as u64;
                let origin = self.report.origin(offset, bytes, Encoding::Xbzrle);
                self.report
                    .show(|visitor| visitor.differences(block, page, differences, origin))?;
            }
            RecordKind::CompressPage => {
                let (block, page) = match self.page_of(source, record, at) {
                    Ok(place) => place,
                    Err(error) => return self.drop_page(source, record, error),
                };
                self.report.count(PageCounts {
                    compressed: 1,
                    ..PageCounts::PAGE
                });
                let offset = source.position();
                let data = self.inflater.record(source, page_len)?;
                let bytes = source.position().saturating_sub(offset);
                let origin = self.report.origin(offset, bytes, Encoding::CompressPage);
                self.report
                    .show(|visitor| visitor.page(block, page, Page::Data(data), origin))?;
            }
            RecordKind::Hook => {
                if !std::mem::replace(&mut self.hooked, true) {
                    self.report
                        .assume(at, Some(ram::IDSTR), AssumptionKind::RamElsewhere)?;
                }
            }
        }
        Ok(Records::GoOn)
    }

    /// Whether a record of this kind may come here.
    #[inline]
    fn takes(&self, kind: RecordKind) -> bool {
        use RecordKind::{Eos, MemSize, MultifdFlush, Page, Zero};
        if self.mapped {
            return matches!(kind, MemSize | Eos);
        }
        match self.stage {
            Stage::Precopy => true,
            Stage::Postcopy => matches!(kind, Page | Zero | Eos | MultifdFlush),
        }
    }

    /// What is wrong with a record that may not come here.
    #[cold]
    fn refused(&self, word: u64, at: u64) -> Error {
        let flags = word & self.page_size.mask();
        let expected = match self.stage {
            _ if self.mapped => "no pages besides those of the blocks (mapped-ram)",
            Stage::Precopy => "exactly one kind",
            Stage::Postcopy => "pages as they are, because the guest runs already (postcopy)",
        };
        let found = match Record::from_word(word, self.page_size) {
            Ok(_) if self.mapped => format!("unexpected RAM flags {flags:#x}"),
            _ => format!("unknown combination of migration flags: {flags:#x}"),
        };
        FormatError::unexpected(at, "a RAM record", expected, found).into()
    }

    /// A zero page with a byte that QEMU 8.2 and later refuse; older ones fill the page with it.
    #[cold]
    fn fill_page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        byte: u8,
        origin: Origin,
    ) -> Result<(), LoadError<V::Error>> {
        if self.report.mode() == Mode::Strict {
            let what = "the fill byte of a zero page";
            let found = format!("a zero page with value {byte}");
            let error = FormatError::unexpected(origin.offset, what, "0", found);
            return Err(Error::from(error).into());
        }
        let kind = AssumptionKind::Filled { byte };
        self.report.assume(origin.offset, Some(ram::IDSTR), kind)?;
        let data = vec![byte; self.page_size.bytes()];
        self.report
            .show(|visitor| visitor.page(block, page, Page::Data(&data), origin))
    }

    /// Passes the content of a page that belongs nowhere, where that is allowed.
    #[cold]
    fn drop_page<T: Source>(
        &mut self,
        source: &mut T,
        record: Record,
        error: Error,
    ) -> Result<Records, LoadError<V::Error>> {
        if error.is_end() || !self.report.rescues(&error) {
            return Err(error.into());
        }
        let at = source.position();
        match record.kind {
            RecordKind::Page => drop(source.take(self.page_size.bytes(), "a page")?),
            RecordKind::Zero => drop(source.u8("a zero page")?),
            RecordKind::Xbzrle => drop(xbzrle::record(source, self.page_size.bytes())?),
            _ => drop(self.inflater.record(source, self.page_size.bytes())?),
        }
        let reason = error.to_string();
        self.report
            .assume(at, Some(ram::IDSTR), AssumptionKind::PageDropped { reason })?;
        Ok(Records::GoOn)
    }

    fn block_list(
        &mut self,
        source: &mut impl Source,
        total: u64,
    ) -> Result<(), LoadError<V::Error>> {
        let at = source.position();
        self.count_list(at)?;
        let list = ram::decode_blocks(source, total, self.page_size, self.list_fields)?;
        for (_, block) in list.iter() {
            self.add_block(block.clone(), &list);
        }
        self.show_blocks(at)
    }

    /// Counts the lists: a visitor may make room for all of the RAM with each.
    pub(super) fn count_list(&mut self, at: u64) -> Result<(), Error> {
        let limit = limits::RAM_LISTS;
        self.lists += 1;
        if self.lists <= limit {
            return Ok(());
        }
        let what = "the lists of RAM blocks";
        Err(FormatError::too_long(at, what, self.lists as u64, limit as u64).into())
    }

    /// Adds a block that stands in a list.
    pub(super) fn add_block(&mut self, block: RamBlock, list: &RamBlocks) -> BlockIndex {
        let address = list
            .find(&block.idstr)
            .and_then(|index| list.address(index));
        let index = self.blocks.insert(block);
        self.blocks.set_address(index, address);
        index
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
        // Visitors look at all of them each time.
        work::count(count);
        self.blocks_shown = self.blocks_shown.saturating_add(count);
        let (shown, limit) = (self.blocks_shown, limits::RAM_BLOCKS_LISTED);
        if shown > limit {
            let what = "the lists of RAM blocks, one after the other";
            let error = FormatError::too_long(at, what, shown as u64, limit as u64);
            return Err(Error::from(error).into());
        }
        if self.blocks.checked_total_length().is_none() {
            let expected = "all RAM blocks together below 2^64 bytes";
            let error = FormatError::unexpected(at, WHAT, expected, "more");
            return Err(Error::from(error).into());
        }
        let (blocks, page_size) = (&self.blocks, self.page_size);
        self.report
            .show(|visitor| visitor.ram_blocks(blocks, page_size))
    }

    #[inline]
    fn page_of(
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
        let used = self.blocks.get(index).map_or(0, |block| block.used_length);
        if record.offset >= used {
            let what = "the offset of a page";
            let expected = format!("one below the block's length {used:#x}");
            let found = format!("illegal RAM offset {:#x}", record.offset);
            return Err(FormatError::unexpected(at, what, expected, found).into());
        }
        Ok((index, PageIndex(record.offset >> self.page_size.bits())))
    }
}
