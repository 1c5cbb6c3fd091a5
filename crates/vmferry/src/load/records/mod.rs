//! The records of a `ram` section, and of the channel that requested pages come through.

mod blocks;
mod inflate;
mod mapped_ram;
#[cfg(test)]
mod tests;

use self::blocks::BlockTable;
use self::inflate::Inflater;
use self::mapped_ram::{MappedRam, RamEnd};

use super::report::Report;
use super::{
    AssumptionKind, ChannelName, Encoding, LoadError, Mode, Options, Origin, PageCounts, Visitor,
};
use crate::error::{Error, FormatError};
use crate::load::source::Source;
use crate::machine::Configuration;
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use crate::wire::configuration::{MAPPED_RAM, X_IGNORE_SHARED};
use crate::wire::ram::{self, ListFields, Record, RecordKind};
use crate::wire::section::{ElementType, SectionHeader};
use crate::wire::xbzrle;

/// What is known of a machine's RAM while its records are read.
pub(super) struct Records {
    table: BlockTable,
    stage: Stage,
    /// Set where pages come with their blocks, and in no record.
    mapped: Option<MappedRam>,
    inflater: Inflater,
    /// What marks a meeting point, once that is known.
    mark: Option<MeetingMark>,
    /// RAM took another way, which has been reported.
    elsewhere: bool,
    section_id: Option<u32>,
    /// Whether a PART or END of the section has come.
    continued: bool,
    ended: bool,
}

/// What the destination accepts at this point of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Any record.
    Precopy,
    /// Pages as they are, because the guest runs and waits for them.
    Postcopy,
}

/// How the main channel marks where it meets the multifd channels: the machine type decides, and the first section
/// of the RAM shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MeetingMark {
    /// Each end of a piece of RAM: machine types up to 8.0.
    Eos,
    /// Each MULTIFD_FLUSH record.
    Flush,
}

/// Why reading records pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// All channels meet here. More records follow.
    Meeting,
    /// The piece of RAM has ended.
    End,
    /// The piece of RAM has ended, and all channels meet here.
    EndAndMeeting,
}

impl Records {
    /// The records of a stream without a configuration.
    pub(super) fn new() -> Self {
        Self {
            table: BlockTable::new(PageSize::X86, ListFields::Plain),
            stage: Stage::Precopy,
            mapped: None,
            inflater: Inflater::default(),
            mark: None,
            elsewhere: false,
            section_id: None,
            continued: false,
            ended: false,
        }
    }

    /// Notes what the configuration says about the RAM.
    pub(super) fn configure(&mut self, configuration: &Configuration, options: &Options) {
        if configuration.has_capability(MAPPED_RAM) {
            self.mapped = Some(MappedRam::new(options.file_offset, options.bitmap_words));
        }
        let fields = match configuration.has_capability(X_IGNORE_SHARED) {
            true => ListFields::GuestAddress,
            false => ListFields::Plain,
        };
        self.table = BlockTable::new(configuration.page_size(), fields);
    }

    /// What lists of blocks say about each of them from now on.
    pub(super) fn set_list_fields(&mut self, fields: ListFields) {
        self.table.set_fields(fields);
    }

    /// From now on, only pages as they are may come.
    pub(super) fn switch_to_postcopy(&mut self) {
        self.stage = Stage::Postcopy;
    }

    /// The next records come from the channel of requested pages.
    pub(super) fn begin_requested_pages(&mut self) {
        self.switch_to_postcopy();
        self.table.forget_current();
    }

    pub(super) fn page_size(&self) -> PageSize {
        self.table.page_size()
    }

    pub(super) fn blocks(&self) -> &RamBlocks {
        self.table.blocks()
    }

    /// The block of the page record before.
    pub(super) fn current_block(&self) -> Option<BlockIndex> {
        self.table.current()
    }

    /// The number of the `ram` section, where there was one.
    pub(super) fn section_id(&self) -> Option<u32> {
        self.section_id
    }

    /// Whether the `ram` section was ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether MULTIFD_FLUSH records mark meeting points.
    pub(super) fn has_flush_marks(&self) -> bool {
        self.mark == Some(MeetingMark::Flush)
    }

    /// Whether no page can have come yet, where `counted` is what was counted so far.
    pub(super) fn before_pages(&self, counted: PageCounts) -> bool {
        !self.continued && (self.mapped.is_some() || counted.pages == 0)
    }

    /// The `ram` section is started at offset `at`.
    pub(super) fn start_section<V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        header: &SectionHeader,
        at: u64,
    ) -> Result<(), LoadError<V::Error>> {
        if header.version_id != ram::VERSION {
            let (what, found) = ("the version of section 'ram'", header.version_id);
            report.accept(FormatError::unexpected(at, what, "4", found))?;
        }
        self.section_id = Some(header.section_id);
        Ok(())
    }

    /// The `ram` section goes on with a PART or END.
    pub(super) fn continue_section(&mut self, element: ElementType) {
        self.continued = true;
        self.ended = element == ElementType::End;
    }

    /// No more pages come in sections; the stream has come to offset `at`.
    pub(super) fn end_of_pages<V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        at: u64,
    ) -> Result<(), LoadError<V::Error>> {
        let end = match self.ended {
            true => RamEnd::There,
            false => RamEnd::Missing,
        };
        match &mut self.mapped {
            Some(mapped) => mapped.end(&self.table, report, end, at),
            None => Ok(()),
        }
    }

    /// Reads records, up to one after which the walk has something to do.
    pub(super) fn read<V: Visitor, S: Source>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut S,
    ) -> Result<Pause, LoadError<V::Error>> {
        loop {
            if let Some(pause) = self.record(report, source)? {
                return Ok(pause);
            }
        }
    }

    /// As [`read`](Self::read), from a source that may end between two records: `None`.
    pub(super) fn read_bare<V: Visitor, S: Source>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut S,
    ) -> Result<Option<Pause>, LoadError<V::Error>> {
        while source.peek_u8()?.is_some() {
            if let Some(pause) = self.record(report, source)? {
                return Ok(Some(pause));
            }
        }
        Ok(None)
    }

    #[inline]
    fn record<V: Visitor, S: Source>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut S,
    ) -> Result<Option<Pause>, LoadError<V::Error>> {
        let page_size = self.table.page_size();
        let page_len = page_size.bytes();
        let at = source.position();
        let word = source.be64("a RAM record")?;
        let record = match Record::from_word(word, page_size) {
            Ok(record) if self.accepts(record.kind) => record,
            _ => return Err(self.refused(word, at).into()),
        };
        match record.kind {
            RecordKind::Page => {
                let (block, page) = match self.table.page_of(source, record, at) {
                    Ok(place) => place,
                    Err(error) => return self.drop_page(report, source, record, error),
                };
                report.count(PageCounts::PAGE);
                let origin = report.origin(source.position(), page_len as u64, Encoding::Page);
                let data = source.take(page_len, "a page")?;
                report.show(|visitor| visitor.page(block, page, Page::Data(data), origin))?;
            }
            RecordKind::Zero => {
                let (block, page) = match self.table.page_of(source, record, at) {
                    Ok(place) => place,
                    Err(error) => return self.drop_page(report, source, record, error),
                };
                let origin = report.origin(source.position(), 1, Encoding::Zero);
                report.count(PageCounts::PAGE);
                let fill = source.u8("a zero page")?;
                if fill != 0 {
                    self.fill_page(report, block, page, fill, origin)?;
                    return Ok(None);
                }
                report.count(PageCounts::ZERO);
                report.show(|visitor| visitor.page(block, page, Page::Zero, origin))?;
            }
            RecordKind::Eos => {
                if report.channel() == ChannelName::Main && !self.has_flush_marks() {
                    self.mark = Some(MeetingMark::Eos);
                    return Ok(Some(Pause::EndAndMeeting));
                }
                return Ok(Some(Pause::End));
            }
            RecordKind::MemSize => match &mut self.mapped {
                Some(mapped) => {
                    mapped.read_blocks(&mut self.table, report, source, record.offset)?;
                }
                None => self.table.read_list(report, source, record.offset)?,
            },
            // A meeting point of multifd channels; without such channels, nothing.
            RecordKind::MultifdFlush => {
                if *self.mark.get_or_insert(MeetingMark::Flush) == MeetingMark::Flush {
                    return Ok(Some(Pause::Meeting));
                }
            }
            RecordKind::Xbzrle => {
                let (block, page) = match self.table.page_of(source, record, at) {
                    Ok(place) => place,
                    Err(error) => return self.drop_page(report, source, record, error),
                };
                report.count(PageCounts {
                    xbzrle: 1,
                    ..PageCounts::PAGE
                });
                let offset = source.position();
                let differences = xbzrle::record(source, page_len)?;
                let bytes = differences.len() as u64;
                let origin = report.origin(offset, bytes, Encoding::Xbzrle);
                report.show(|visitor| visitor.differences(block, page, differences, origin))?;
            }
            RecordKind::CompressPage => {
                let (block, page) = match self.table.page_of(source, record, at) {
                    Ok(place) => place,
                    Err(error) => return self.drop_page(report, source, record, error),
                };
                report.count(PageCounts {
                    compressed: 1,
                    ..PageCounts::PAGE
                });
                let offset = source.position();
                let data = self.inflater.record(source, page_len)?;
                let bytes = source.position().saturating_sub(offset);
                let origin = report.origin(offset, bytes, Encoding::CompressPage);
                report.show(|visitor| visitor.page(block, page, Page::Data(data), origin))?;
            }
            RecordKind::Hook => {
                if !std::mem::replace(&mut self.elsewhere, true) {
                    report.assume(at, Some(ram::IDSTR), AssumptionKind::RamElsewhere)?;
                }
            }
        }
        Ok(None)
    }

    /// Whether a record of this kind may come here.
    #[inline]
    fn accepts(&self, kind: RecordKind) -> bool {
        use RecordKind::{Eos, MemSize, MultifdFlush, Page, Zero};
        if self.mapped.is_some() {
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
        let flags = word & self.page_size().mask();
        let is_mapped = self.mapped.is_some();
        let expected = match self.stage {
            _ if is_mapped => "no pages besides those of the blocks (mapped-ram)",
            Stage::Precopy => "exactly one kind",
            Stage::Postcopy => "pages as they are, because the guest runs already (postcopy)",
        };
        let found = match Record::from_word(word, self.page_size()) {
            Ok(_) if is_mapped => format!("unexpected RAM flags {flags:#x}"),
            _ => format!("unknown combination of migration flags: {flags:#x}"),
        };
        FormatError::unexpected(at, "a RAM record", expected, found).into()
    }

    /// A zero page with a byte that QEMU 8.2 and later refuse; older ones fill the page with it.
    #[cold]
    fn fill_page<V: Visitor>(
        &self,
        report: &mut Report<'_, V>,
        block: BlockIndex,
        page: PageIndex,
        byte: u8,
        origin: Origin,
    ) -> Result<(), LoadError<V::Error>> {
        if report.mode() == Mode::Strict {
            let what = "the fill byte of a zero page";
            let found = format!("a zero page with value {byte}");
            let error = FormatError::unexpected(origin.offset, what, "0", found);
            return Err(Error::from(error).into());
        }
        let kind = AssumptionKind::Filled { byte };
        report.assume(origin.offset, Some(ram::IDSTR), kind)?;
        let data = vec![byte; self.page_size().bytes()];
        report.show(|visitor| visitor.page(block, page, Page::Data(&data), origin))
    }

    /// Skips the content of a page that belongs nowhere, where that is allowed.
    #[cold]
    fn drop_page<V: Visitor, S: Source>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut S,
        record: Record,
        error: Error,
    ) -> Result<Option<Pause>, LoadError<V::Error>> {
        if error.is_end() || !report.rescues(&error) {
            return Err(error.into());
        }
        let at = source.position();
        let page_len = self.page_size().bytes();
        match record.kind {
            RecordKind::Page => drop(source.take(page_len, "a page")?),
            RecordKind::Zero => drop(source.u8("a zero page")?),
            RecordKind::Xbzrle => drop(xbzrle::record(source, page_len)?),
            _ => drop(self.inflater.record(source, page_len)?),
        }
        let reason = error.to_string();
        let kind = AssumptionKind::PageDropped { reason };
        report.assume(at, Some(ram::IDSTR), kind)?;
        Ok(None)
    }
}
