//! The walk from element to element. It alone knows all parts of the loader: it passes on to each what the others found
//! out, and does what commands say.

mod package;
mod pages;
mod tail;

use super::commands::{Commands, Effect};
use super::multifd::{Destination, SideChannels};
use super::others::Others;
use super::records::Records;
use super::report::{ElementStart, Report};
use super::resync::{self, Landmark};
use super::sections::Sections;
use super::{AssumptionKind, ElementKind, LoadError, Nesting, Options, Summary, Visitor};
use crate::error::{Error, FormatError};
use crate::load::source::Source;
use crate::machine::{Configuration, Phase};
use crate::wire::command::Command;
use crate::wire::section::{ElementType, SectionHeader};
use crate::wire::{configuration, header, ram};

/// One pass over a stream. Each method is given what it reads from: a channel, or what was read of one.
pub(super) struct Walk<'a, V> {
    report: Report<'a, V>,
    records: Records,
    sections: Sections,
    commands: Commands,
    others: Others,
    side_channels: &'a mut dyn SideChannels<V>,
    options: &'a Options,
    /// Nothing more can be read.
    is_cut: bool,
}

/// What the elements that are read are part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The stream, as it comes.
    Stream,
    /// What is left of the stream after its pages, all of it in memory.
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

    fn phase(self) -> Phase {
        match self {
            Self::Stream => Phase::Early,
            Self::Tail | Self::Package => Phase::Device,
        }
    }
}

/// Why no more elements are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The byte that ends them was read; or, in the stream, comes next.
    Eof,
    /// A device section after the pages comes next.
    Devices,
    /// The package has ended.
    Package,
    /// Nothing more can be read.
    Cut,
}

impl<'a, V: Visitor> Walk<'a, V> {
    pub(super) fn new(
        visitor: &'a mut V,
        side_channels: &'a mut dyn SideChannels<V>,
        options: &'a Options,
    ) -> Self {
        Self {
            report: Report::new(visitor, options.mode),
            records: Records::new(),
            sections: Sections::default(),
            commands: Commands::default(),
            others: Others::new(options.other_sections),
            side_channels,
            options,
            is_cut: false,
        }
    }

    /// Reads the main channel, the multifd channels together with it, and then that of requested pages.
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
        self.records
            .end_of_pages(&mut self.report, main.position())?;
        let end = match ended {
            Ended::Cut => main.position(),
            _ => self.tail(main)?,
        };
        self.end_side_channels(end)?;
        if let Some(preempt) = preempt {
            self.requested_pages(preempt)?;
        }
        Ok(self.summary(end))
    }

    /// Puts together what each part has seen of the stream, which ends at offset `end`.
    fn summary(self, end: u64) -> Summary {
        Summary {
            bytes: end,
            devices: self.sections.devices(),
            ram_section_id: self.records.section_id(),
            ram_ended: self.records.has_ended(),
            switched_to_postcopy: self.commands.has_listened(),
            other_sections: self.others.into_names(),
            ..self.report.into_summary()
        }
    }

    fn configuration(&mut self, source: &mut impl Source) -> Result<(), LoadError<V::Error>> {
        let start = self.report.begin(source.position(), Nesting::Stream);
        let configuration = Configuration::decode(source)?;
        self.records.configure(&configuration, self.options);
        // Machine types from 2.4 on send a configuration, and footers.
        self.sections.expect_footers();
        self.side_channels.belongs_to(configuration.uuid)?;
        self.report
            .show(|visitor| visitor.configuration(&configuration))?;
        let end = source.position();
        self.report.element(start, end, ElementKind::Configuration)
    }

    /// The main channel has come to where it meets the multifd channels, if there are any.
    fn meet(&mut self) -> Result<(), LoadError<V::Error>> {
        let (visitor, pages) = self.report.visitor_and_pages();
        self.side_channels.meet(Destination {
            visitor,
            blocks: self.records.blocks(),
            page_size: self.records.page_size(),
            pages,
        })
    }

    /// The main channel is at its end, where all others must end.
    fn end_side_channels(&mut self, at: u64) -> Result<(), LoadError<V::Error>> {
        let pages = self.report.pages();
        let contents = pages.pages - pages.zero;
        if !self.side_channels.any() && self.records.has_flush_marks() && contents == 0 {
            // QEMU 8.1 is said to mark meeting points where there is nobody to meet: that alone proves nothing.
            let what = "the pages of the machine";
            let expected = "its multifd channels beside this one";
            let error = FormatError::unexpected(at, what, expected, "none");
            self.report.accept(error)?;
        }
        let (visitor, pages) = self.report.visitor_and_pages();
        let end = self.side_channels.end(Destination {
            visitor,
            blocks: self.records.blocks(),
            page_size: self.records.page_size(),
            pages,
        });
        match end {
            Err(LoadError::Read(error)) if self.report.rescues(&error) => {
                self.report.cut(at, &error)
            }
            end => end,
        }
    }

    /// Reads elements until there are no more, or until something comes that is not read here.
    fn elements<S: Source>(
        &mut self,
        source: &mut S,
        level: Level,
    ) -> Result<Ended, LoadError<V::Error>> {
        loop {
            match self.step(source, level) {
                Ok(None) => {}
                Ok(Some(ended)) => return Ok(ended),
                Err(LoadError::Read(error)) if self.report.rescues(&error) => {
                    if self.resume(source, &error)? == Some(Landmark::Records) {
                        let section_id = self.records.section_id().unwrap_or_default();
                        self.ram_section(source, section_id)?;
                    }
                }
                Err(error) => return Err(error),
            }
            if self.is_cut {
                return Ok(Ended::Cut);
            }
        }
    }

    /// Reads the next element, and returns whether it was the last one.
    fn step<S: Source>(
        &mut self,
        source: &mut S,
        level: Level,
    ) -> Result<Option<Ended>, LoadError<V::Error>> {
        let next = source.peek_u8()?;
        match (level, next.and_then(ElementType::from_byte)) {
            // Device sections and the end are looked at together, once all of them are there.
            (Level::Stream, Some(ElementType::Eof)) => return Ok(Some(Ended::Eof)),
            // Those that come before any page are early ones.
            (Level::Stream, Some(ElementType::Full))
                if !self.records.before_pages(self.report.pages()) =>
            {
                return Ok(Some(Ended::Devices));
            }
            (Level::Package, None) if next.is_none() => return Ok(Some(Ended::Package)),
            _ => {}
        }
        let start = self.report.begin(source.position(), level.nesting());
        match ElementType::decode(source)? {
            ElementType::Eof => {
                let end = source.position();
                self.report.element(start, end, ElementKind::Eof)?;
                Ok(Some(Ended::Eof))
            }
            ElementType::Start => {
                let header = SectionHeader::decode(source)?;
                let at = start.offset();
                self.sections.start(&header, at)?;
                if header.idstr == ram::IDSTR {
                    self.records.start_section(&mut self.report, &header, at)?;
                }
                self.piece(source, start, ElementType::Start, &header)?;
                Ok(None)
            }
            element @ (ElementType::Part | ElementType::End) => {
                let section_id = source.be32("a section header")?;
                let header = self.sections.started(section_id, start.offset())?.clone();
                if header.idstr == ram::IDSTR {
                    self.records.continue_section(element);
                }
                self.piece(source, start, element, &header)?;
                Ok(None)
            }
            ElementType::Full => {
                let (sections, report) = (&mut self.sections, &mut self.report);
                sections.device(report, source, start, level.phase())?;
                Ok(None)
            }
            ElementType::Command => self.command(source, start, level),
        }
    }

    /// Reads a piece of an iterable section after its header, with its footer.
    fn piece<S: Source>(
        &mut self,
        source: &mut S,
        start: ElementStart,
        element: ElementType,
        header: &SectionHeader,
    ) -> Result<(), LoadError<V::Error>> {
        let read = match header.idstr.as_str() {
            ram::IDSTR => self.ram_section(source, header.section_id),
            _ => self.other_section(source, header),
        };
        read.map_err(|error| match error {
            LoadError::Read(error) => LoadError::Read(error.in_section(&header.idstr)),
            visitor @ LoadError::Visitor(_) => visitor,
        })?;
        self.report
            .section(start, source.position(), element, header)
    }

    fn other_section<S: Source>(
        &mut self,
        source: &mut S,
        header: &SectionHeader,
    ) -> Result<(), LoadError<V::Error>> {
        let (others, report) = (&mut self.others, &mut self.report);
        others.piece(report, &self.sections, source, header)?;
        let sections = &mut self.sections;
        sections.footer(report, source, header.section_id, &header.idstr)
    }

    /// Reads a command, after its type byte, and does what it says.
    fn command<S: Source>(
        &mut self,
        source: &mut S,
        start: ElementStart,
        level: Level,
    ) -> Result<Option<Ended>, LoadError<V::Error>> {
        let command = Command::decode(source)?;
        let effect = self.commands.obey(
            &mut self.report,
            self.records.blocks(),
            self.records.page_size(),
            &command,
            start.offset(),
        )?;
        let end = source.position();
        self.report
            .element(start, end, ElementKind::Command(&command))?;
        match effect {
            Effect::Nothing => {}
            Effect::Fields(fields) => self.records.set_list_fields(fields),
            Effect::Listen => self.records.switch_to_postcopy(),
            Effect::EndPackage if level == Level::Package => return Ok(Some(Ended::Package)),
            Effect::EndPackage => {}
            Effect::Package(len) => self.package(source, start.offset(), level, len)?,
        }
        Ok(None)
    }

    /// Goes on after an error at the next element, or at records of pages, whichever comes first. Where there is
    /// neither, the walk is cut.
    fn resume<S: Source>(
        &mut self,
        source: &mut S,
        error: &Error,
    ) -> Result<Option<Landmark>, LoadError<V::Error>> {
        let at = source.position();
        // Nothing comes after the end.
        let found = match error.is_end() {
            true => None,
            false => resync::seek(source, &self.resync_context())?,
        };
        self.is_cut = found.is_none();
        let reason = error.to_string();
        let kind = match found {
            Some(_) => AssumptionKind::Skipped {
                bytes: source.position().saturating_sub(at),
                reason,
            },
            None => AssumptionKind::Cut { reason },
        };
        let section = match error {
            Error::Format(error) => error.section.as_deref(),
            _ => None,
        };
        self.report.assume(at, section, kind)?;
        Ok(found)
    }

    fn resync_context(&self) -> resync::Context<'_> {
        resync::Context {
            sections: &self.sections,
            blocks: self.records.blocks(),
            page_size: self.records.page_size(),
            current: self.records.current_block(),
        }
    }
}
