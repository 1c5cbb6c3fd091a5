//! The walk from element to element.

use std::collections::BTreeSet;

use super::inflate::Inflater;
use super::mapped_ram::Unwritten;
use super::multifd::{Beside, Known, Marks};
use super::others::Names;
use super::postcopy::Postcopy;
use super::ram::Stage;
use super::report::Report;
use super::resync::Landmark;
use super::sections::Sections;
use super::{
    BitmapWords, ElementKind, LoadError, Nesting, Options, OtherSections, Summary, Visitor,
    VmDescRule,
};
use crate::error::{Error, FormatError};
use crate::machine::{Configuration, Phase};
use crate::ram::{BlockIndex, PageSize, RamBlocks};
use crate::wire::configuration;
use crate::wire::ram::ListFields;
use crate::wire::section::{ElementType, SectionHeader};
use crate::wire::{Source, header, ram};

/// The state of one pass. What is read, it is told at each step: a channel, or what was read of one.
pub(super) struct Pass<'a, V> {
    pub(super) report: Report<'a, V>,
    /// The channels with pages in packets.
    beside: &'a mut dyn Beside<V>,
    /// What stands in the main channel where all of them meet.
    pub(super) marks: Marks,
    pub(super) vmdesc: VmDescRule,
    pub(super) other_sections: OtherSections,
    pub(super) page_size: PageSize,
    pub(super) list_fields: ListFields,
    pub(super) blocks: RamBlocks,
    /// How many lists of blocks there were.
    pub(super) lists: usize,
    /// How many blocks the visitor was shown, each as often as it was.
    pub(super) blocks_shown: usize,
    /// The block of the page record before on this channel: CONTINUE means it, also across sections.
    pub(super) current: Option<BlockIndex>,
    pub(super) summary: Summary,
    pub(super) inflater: Inflater,
    /// Pages stand behind their blocks, and in no record.
    pub(super) mapped: bool,
    /// Blocks of a mapped-ram file whose pages were shown although their bitmaps say that there are none.
    pub(super) unwritten: Vec<Unwritten>,
    pub(super) file_offset: u64,
    pub(super) bitmap_words: BitmapWords,
    pub(super) stage: Stage,
    pub(super) postcopy: Postcopy,
    pub(super) sections: Sections,
    pub(super) bitmap_names: Names,
    /// The names of the iterable sections other than `ram`.
    pub(super) others: BTreeSet<String>,
    /// Nothing more can be read.
    pub(super) cut: bool,
    /// RAM went another way.
    pub(super) hooked: bool,
    /// Whether a PART or END of the RAM has come.
    iterated: bool,
}

/// What the elements that are read stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The stream, as it comes.
    Stream,
    /// What is left of the stream behind its pages, all of it in memory.
    Tail,
    /// A package, all of it in memory.
    Package,
}

impl Level {
    fn nesting(self) -> Nesting {
        match self {
            Self::Stream | Self::Tail => Nesting::Stream,
            Self::Package => Nesting::Package,
        }
    }
}

/// Why no more elements are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The byte that ends them was passed; or, in the stream, comes next.
    Eof,
    /// A device section behind the pages comes next.
    Devices,
    /// The package is through.
    Package,
    /// Nothing more can be read.
    Cut,
}

impl<'a, V: Visitor> Pass<'a, V> {
    pub(super) fn new(
        visitor: &'a mut V,
        beside: &'a mut dyn Beside<V>,
        options: &Options,
    ) -> Self {
        Self {
            report: Report::new(visitor, options.mode),
            beside,
            marks: Marks::Unknown,
            vmdesc: options.vmdesc,
            other_sections: options.other_sections,
            page_size: PageSize::X86,
            list_fields: ListFields::Plain,
            blocks: RamBlocks::default(),
            lists: 0,
            blocks_shown: 0,
            current: None,
            summary: Summary::default(),
            inflater: Inflater::default(),
            mapped: false,
            unwritten: Vec::new(),
            file_offset: options.file_offset,
            bitmap_words: options.bitmap_words,
            stage: Stage::Precopy,
            postcopy: Postcopy::default(),
            sections: Sections::default(),
            bitmap_names: Names::default(),
            others: BTreeSet::new(),
            cut: false,
            hooked: false,
            iterated: false,
        }
    }

    pub(super) fn run<S: Source>(
        mut self,
        main: &mut S,
        preempt: Option<&mut S>,
    ) -> Result<Summary, LoadError<V::Error>> {
        header::decode(main)?;
        if main.peek_u8()? == Some(configuration::ELEMENT) {
            self.configuration(main)?;
        }
        let ended = self.elements(main, Level::Stream)?;
        self.end_of_pages(main.position())?;
        let end = match ended {
            Ended::Cut => main.position(),
            _ => self.tail(main)?,
        };
        self.channels_end(end)?;
        if let Some(preempt) = preempt {
            self.preempt_channel(preempt)?;
        }
        let seen = self.report.into_summary();
        Ok(Summary {
            bytes: end,
            devices: self.sections.devices(),
            ram_section_id: self.summary.ram_section_id,
            ram_ended: self.summary.ram_ended,
            switched_to_postcopy: self.summary.switched_to_postcopy,
            other_sections: self.summary.other_sections,
            ..seen
        })
    }

    fn configuration(&mut self, source: &mut impl Source) -> Result<(), LoadError<V::Error>> {
        let at = source.position();
        let configuration = Configuration::decode(source)?;
        self.mapped = configuration.has_capability(configuration::MAPPED_RAM);
        if configuration.has_capability(configuration::X_IGNORE_SHARED) {
            self.list_fields = ListFields::GuestAddress;
        }
        self.page_size = configuration.page_size();
        // Machine types from 2.4 on send a configuration, and footers.
        self.sections.expect_footers();
        self.beside.belongs_to(configuration.uuid)?;
        self.report
            .show(|visitor| visitor.configuration(&configuration))?;
        let begin = self.report.begin(at, Nesting::Stream);
        self.report
            .element(begin, source.position(), ElementKind::Configuration)
    }

    /// The main channel has come to where it meets the multifd channels, if there are any.
    pub(super) fn meet(&mut self) -> Result<(), LoadError<V::Error>> {
        let (visitor, pages) = self.report.visitor_and_pages();
        self.beside.meet(Known {
            visitor,
            blocks: &self.blocks,
            page_size: self.page_size,
            pages,
        })
    }

    /// The main channel is at its end, where all others must end.
    fn channels_end(&mut self, at: u64) -> Result<(), LoadError<V::Error>> {
        let pages = self.report.pages();
        let contents = pages.pages - pages.zero;
        if !self.beside.any() && self.marks == Marks::Flush && contents == 0 {
            // QEMU 8.1 is said to mark meeting points where there is nobody to meet: that alone is no sign.
            let what = "the pages of the machine";
            let expected = "its multifd channels beside this one";
            self.report
                .accept(FormatError::unexpected(at, what, expected, "none"))?;
        }
        let (visitor, pages) = self.report.visitor_and_pages();
        let end = self.beside.end(Known {
            visitor,
            blocks: &self.blocks,
            page_size: self.page_size,
            pages,
        });
        match end {
            Err(LoadError::Read(error)) if self.report.rescues(&error) => {
                self.report.cut(at, &error)
            }
            end => end,
        }
    }

    /// Whether no page can have come yet: device sections that stand here are early ones.
    pub(super) fn before_pages(&self) -> bool {
        !self.iterated && (self.mapped || self.report.pages().pages == 0)
    }

    /// Reads elements until there are no more, or until something comes that is not read here.
    pub(super) fn elements<T: Source>(
        &mut self,
        source: &mut T,
        level: Level,
    ) -> Result<Ended, LoadError<V::Error>> {
        loop {
            match self.step(source, level) {
                Ok(None) => {}
                Ok(Some(ended)) => return Ok(ended),
                Err(LoadError::Read(error)) if self.report.rescues(&error) => {
                    if self.resume(source, &error)? == Some(Landmark::Records) {
                        let section_id = self.summary.ram_section_id.unwrap_or_default();
                        self.ram_section(source, section_id)?;
                    }
                }
                Err(error) => return Err(error),
            }
            if self.cut {
                return Ok(Ended::Cut);
            }
        }
    }

    /// Reads the next element, and tells whether it was the last one.
    fn step<T: Source>(
        &mut self,
        source: &mut T,
        level: Level,
    ) -> Result<Option<Ended>, LoadError<V::Error>> {
        let next = source.peek_u8()?;
        match (level, next.and_then(ElementType::from_byte)) {
            // Device sections and the end are looked at together, once all of them are there.
            (Level::Stream, Some(ElementType::Eof)) => return Ok(Some(Ended::Eof)),
            (Level::Stream, Some(ElementType::Full)) if !self.before_pages() => {
                return Ok(Some(Ended::Devices));
            }
            (Level::Package, None) if next.is_none() => return Ok(Some(Ended::Package)),
            _ => {}
        }
        let begin = self.report.begin(source.position(), level.nesting());
        match ElementType::decode(source)? {
            ElementType::Eof => {
                self.report
                    .element(begin, source.position(), ElementKind::Eof)?;
                return Ok(Some(Ended::Eof));
            }
            ElementType::Start => {
                let header = SectionHeader::decode(source)?;
                self.start(source, begin.offset(), &header)?;
                self.report
                    .section(begin, source.position(), ElementType::Start, &header)?;
            }
            element @ (ElementType::Part | ElementType::End) => {
                let section_id = source.be32("a section header")?;
                let header = self.sections.started(section_id, begin.offset());
                let header = header.map_err(Error::from)?.clone();
                if header.idstr == ram::IDSTR {
                    self.iterated = true;
                    self.summary.ram_ended = element == ElementType::End;
                }
                self.payload(source, &header)?;
                self.report
                    .section(begin, source.position(), element, &header)?;
            }
            ElementType::Full => {
                let phase = match level {
                    Level::Stream => Phase::Early,
                    Level::Tail | Level::Package => Phase::Device,
                };
                self.sections
                    .device(&mut self.report, source, begin, phase)?;
            }
            ElementType::Command => return self.command(source, begin, level),
        }
        Ok(None)
    }

    fn start<T: Source>(
        &mut self,
        source: &mut T,
        at: u64,
        header: &SectionHeader,
    ) -> Result<(), LoadError<V::Error>> {
        self.sections.start(header, at).map_err(Error::from)?;
        if header.idstr == ram::IDSTR {
            if header.version_id != ram::VERSION {
                let (what, found) = ("the version of section 'ram'", header.version_id);
                let error = FormatError::unexpected(at, what, "4", found);
                self.report.accept(error)?;
            }
            self.summary.ram_section_id = Some(header.section_id);
        }
        self.payload(source, header)
    }

    /// Reads a piece of an iterable section behind its header, with its footer.
    fn payload<T: Source>(
        &mut self,
        source: &mut T,
        header: &SectionHeader,
    ) -> Result<(), LoadError<V::Error>> {
        let read = match header.idstr.as_str() {
            ram::IDSTR => self.ram_section(source, header.section_id),
            _ => self.other_section(source, header),
        };
        read.map_err(|error| match error {
            LoadError::Read(error) => LoadError::Read(error.in_section(&header.idstr)),
            visitor @ LoadError::Visitor(_) => visitor,
        })
    }
}
