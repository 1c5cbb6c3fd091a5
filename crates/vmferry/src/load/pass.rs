//! The walk from element to element.

use super::devices::{self, Early, Footers};
use super::inflate::Inflater;
use super::{DeviceSection, LoadError, Options, Phase, Split, Summary, Visitor};
use crate::error::{Error, FormatError};
use crate::ram::{BlockIndex, PageSize, RamBlocks};
use crate::wire::command::{Command, PostcopyAdvise};
use crate::wire::configuration::{self, Configuration};
use crate::wire::ram::ListFields;
use crate::wire::section::{self, ElementType, SectionHeader};
use crate::wire::{Source, header, limits, ram, vmdesc};

/// The state of one pass.
pub(super) struct Pass<'a, S, V> {
    pub(super) source: &'a mut S,
    pub(super) visitor: &'a mut V,
    pub(super) page_size: PageSize,
    pub(super) list_fields: ListFields,
    pub(super) blocks: RamBlocks,
    /// The block of the page record before: CONTINUE means it, also across sections.
    pub(super) current: Option<BlockIndex>,
    pub(super) summary: Summary,
    pub(super) inflater: Inflater,
    /// Pages stand behind their blocks, and in no record.
    pub(super) mapped: bool,
    pub(super) file_offset: u64,
    footers: Footers,
    early: Vec<Early>,
    /// Bytes of the payloads of all early sections.
    early_len: usize,
    /// Whether a PART or END of the RAM has come.
    iterated: bool,
}

impl<'a, S: Source, V: Visitor> Pass<'a, S, V> {
    pub(super) fn new(source: &'a mut S, visitor: &'a mut V) -> Self {
        Self {
            source,
            visitor,
            page_size: PageSize::X86,
            list_fields: ListFields::Plain,
            blocks: RamBlocks::default(),
            current: None,
            summary: Summary::default(),
            inflater: Inflater::default(),
            mapped: false,
            file_offset: 0,
            footers: Footers::Unknown,
            early: Vec::new(),
            early_len: 0,
            iterated: false,
        }
    }

    pub(super) fn run(mut self, options: &Options) -> Result<Summary, LoadError<V::Error>> {
        self.file_offset = options.file_offset;
        header::decode(self.source)?;
        if self.next_byte()? == Some(configuration::ELEMENT) {
            let configuration = Configuration::decode(self.source)?;
            self.configure(&configuration)?;
        }
        loop {
            // Device sections and the end are looked at together, once all of them are there.
            match self.next_byte()?.and_then(ElementType::from_byte) {
                Some(ElementType::Eof) => break,
                Some(ElementType::Full) if !self.before_pages() => break,
                _ => self.element()?,
            }
        }
        self.is_finished()?;
        self.tail(options)?;
        self.summary.bytes = self.source.position();
        Ok(self.summary)
    }

    fn next_byte(&mut self) -> Result<Option<u8>, Error> {
        Ok(self.source.peek(1)?.first().copied())
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), LoadError<V::Error>> {
        self.mapped = configuration.has_capability(configuration::MAPPED_RAM);
        if configuration.has_capability(configuration::X_IGNORE_SHARED) {
            self.list_fields = ListFields::GuestAddress;
        }
        self.page_size = configuration.page_size();
        // Machine types from 2.4 on send a configuration, and footers.
        self.footers = Footers::Present;
        self.visitor
            .configuration(configuration)
            .map_err(LoadError::Visitor)
    }

    /// Whether no page can have come yet: device sections that stand here are early ones.
    fn before_pages(&self) -> bool {
        !self.iterated && (self.mapped || self.summary.pages == 0)
    }

    fn element(&mut self) -> Result<(), LoadError<V::Error>> {
        let at = self.source.position();
        match ElementType::decode(self.source)? {
            ElementType::Start => {
                let header = SectionHeader::decode(self.source)?;
                self.start(at, &header)
            }
            element @ (ElementType::Part | ElementType::End) => {
                self.iterated = true;
                let section_id = self.source.be32("a section header")?;
                if self.summary.ram_section_id != Some(section_id) {
                    let what = "the continuation of a section";
                    let expected = "the id of a section that was started";
                    let found = format!("unknown savevm section {section_id}");
                    let error = FormatError::unexpected(at, what, expected, found);
                    return Err(Error::from(error).into());
                }
                self.summary.ram_ended = element == ElementType::End;
                self.ram_section(section_id)
            }
            ElementType::Full => self.early_device(at),
            ElementType::Command => self.command(at).map_err(LoadError::Read),
            // The caller looked.
            ElementType::Eof => Ok(()),
        }
    }

    fn start(&mut self, at: u64, header: &SectionHeader) -> Result<(), LoadError<V::Error>> {
        if header.idstr != ram::IDSTR {
            let what = format!("the iterable section '{}'", header.idstr);
            return Err(Error::from(FormatError::unsupported(at, what)).into());
        }
        if header.version_id != ram::VERSION {
            let found = header.version_id;
            let error = FormatError::unexpected(at, "the version of section 'ram'", "4", found);
            return Err(Error::from(error).into());
        }
        self.summary.ram_section_id = Some(header.section_id);
        self.ram_section(header.section_id)
    }

    fn ram_section(&mut self, section_id: u32) -> Result<(), LoadError<V::Error>> {
        self.ram_records().map_err(|error| match error {
            LoadError::Read(error) => LoadError::Read(error.in_section(ram::IDSTR)),
            visitor @ LoadError::Visitor(_) => visitor,
        })?;
        self.footer(section_id)
            .map_err(|error| error.in_section(ram::IDSTR).into())
    }

    fn footer(&mut self, section_id: u32) -> Result<(), Error> {
        if self.footers == Footers::Unknown {
            self.footers = match self.next_byte()? {
                Some(section::FOOTER) => Footers::Present,
                _ => Footers::Absent,
            };
        }
        match self.footers {
            Footers::Absent => Ok(()),
            _ => section::decode_footer(self.source, section_id),
        }
    }

    fn early_device(&mut self, at: u64) -> Result<(), LoadError<V::Error>> {
        let header = SectionHeader::decode(self.source)?;
        let window = self.source.peek(limits::EARLY_SECTION)?;
        let Some(payload_len) = devices::find_footer(window, header.section_id) else {
            let what = "the end of a device section before the RAM";
            let expected = format!("its footer within {} bytes", window.len());
            let error = FormatError::unexpected(at, what, expected, "none");
            return Err(Error::from(error.in_section(&header.idstr)).into());
        };
        self.early_len += payload_len;
        for (what, len, limit) in [
            (
                "the list of sections",
                self.early.len() + 1,
                limits::SECTIONS,
            ),
            (
                "the state of all devices",
                self.early_len,
                limits::DEVICE_STATE,
            ),
        ] {
            if len > limit {
                let error = FormatError::too_long(at, what, len as u64, limit as u64);
                return Err(Error::from(error).into());
            }
        }
        let mut element = Vec::with_capacity(header.encoded_len() + payload_len);
        header.encode(ElementType::Full, &mut element);
        let payload = self.source.take(payload_len, "a device section")?;
        element.extend_from_slice(payload);
        section::decode_footer(self.source, header.section_id)?;
        element.extend_from_slice(&section::footer(header.section_id));
        self.summary.devices += 1;
        let payload = header.encoded_len()..header.encoded_len() + payload_len;
        let shown = self.visitor.device(&DeviceSection {
            section_id: header.section_id,
            idstr: &header.idstr,
            instance_id: header.instance_id,
            version_id: header.version_id,
            phase: Phase::Early,
            split: Split::Footer,
            payload: &element[payload],
            element: &element,
            offset: at,
        });
        self.early.push(Early {
            header,
            payload_len,
            offset: at,
        });
        shown.map_err(LoadError::Visitor)
    }

    fn command(&mut self, at: u64) -> Result<(), Error> {
        match Command::decode(self.source)? {
            Command::OpenReturnPath
            | Command::Ping(_)
            | Command::SwitchoverStart
            | Command::PostcopyAdvise(PostcopyAdvise::Bitmaps) => Ok(()),
            Command::PostcopyAdvise(PostcopyAdvise::Ram { .. }) => {
                self.list_fields = ListFields::HostPageSize;
                Ok(())
            }
            Command::EnableColo => Err(FormatError::unsupported(at, "a COLO stream").into()),
            _ => {
                let what = "a stream that switched to postcopy";
                Err(FormatError::unsupported(at, what).into())
            }
        }
    }

    fn tail(&mut self, options: &Options) -> Result<(), LoadError<V::Error>> {
        let start = self.source.position();
        let bytes = self.rest(start)?;
        let tail = devices::split(&bytes, start, &self.early, self.footers, options.vmdesc)?;
        for section in &tail.sections {
            self.summary.devices += 1;
            self.visitor.device(section).map_err(LoadError::Visitor)?;
        }
        match tail.vmdesc {
            Some(json) => self.visitor.vmdesc(json).map_err(LoadError::Visitor),
            None => Ok(()),
        }
    }

    /// Everything up to the end of the stream.
    fn rest(&mut self, start: u64) -> Result<Vec<u8>, Error> {
        const LIMIT: usize = limits::DEVICE_STATE + limits::VMDESC;
        let mut rest = Vec::new();
        loop {
            let more = self.source.peek_some()?.len();
            if more == 0 {
                return Ok(rest);
            }
            if rest.len() + more > LIMIT {
                let what = "the state of all devices";
                let len = (rest.len() + more) as u64;
                return Err(FormatError::too_long(start, what, len, LIMIT as u64).into());
            }
            rest.extend_from_slice(self.source.take(more, "the state of all devices")?);
            if rest.last() == Some(&b'}') && vmdesc::locate(&rest).is_some() {
                self.source.expect_end();
            }
        }
    }
}
