//! Taking the device sections apart: by their description, or else by their footers.

use super::{DeviceSection, Phase, Split, VmDescRule};
use crate::error::{Error, FormatError, FormatErrorKind};
use crate::wire::command::Command;
use crate::wire::section::{self, ElementType, FOOTER_LEN, SectionHeader};
use crate::wire::vmdesc::{self, VmDesc};
use crate::wire::{SliceSource, Source, limits};

/// Whether sections end with a footer: all of one stream do, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Footers {
    /// No section has ended yet.
    Unknown,
    Present,
    Absent,
}

/// An early device section that was shown already.
pub(super) struct Early {
    pub(super) header: SectionHeader,
    pub(super) payload_len: usize,
    pub(super) offset: u64,
}

/// The device sections behind the RAM, and the description behind them.
pub(super) struct Tail<'a> {
    pub(super) sections: Vec<DeviceSection<'a>>,
    pub(super) vmdesc: Option<&'a [u8]>,
}

/// Takes apart `bytes`, which stand at offset `start` and reach to the end of the stream.
pub(super) fn split<'a>(
    bytes: &'a [u8],
    start: u64,
    early: &[Early],
    footers: Footers,
    rule: VmDescRule,
) -> Result<Tail<'a>, Error> {
    let mut walk = Walk {
        bytes,
        start,
        at: 0,
        footers,
        sections: Vec::new(),
    };
    let vmdesc = match vmdesc::locate(bytes) {
        Some(element) => {
            let json = bytes.get(element + vmdesc::HEAD..).unwrap_or_default();
            let at = start + (element + vmdesc::HEAD) as u64;
            walk.by_description(&VmDesc::parse(json, at)?, early, element)?;
            Some(json)
        }
        None => {
            walk.by_footers()?;
            walk.no_description(rule)?;
            None
        }
    };
    Ok(Tail {
        sections: walk.sections,
        vmdesc,
    })
}

struct Walk<'a> {
    bytes: &'a [u8],
    start: u64,
    at: usize,
    footers: Footers,
    sections: Vec<DeviceSection<'a>>,
}

impl<'a> Walk<'a> {
    fn offset(&self) -> u64 {
        self.start + self.at as u64
    }

    /// Walks along the devices of the description, up to the end of the elements, which must be the
    /// byte before the description's own element.
    fn by_description(
        &mut self,
        vmdesc: &VmDesc,
        early: &[Early],
        element: usize,
    ) -> Result<(), Error> {
        const WHAT: &str = "the devices against their description (vmdesc)";
        let (described_early, described) = vmdesc
            .devices
            .split_at(early.len().min(vmdesc.devices.len()));
        for (early, device) in early.iter().zip(described_early) {
            let len = device.payload_len();
            if !matches(&early.header, device) || len != Some(early.payload_len as u64) {
                let found = format!("'{}' of {:?} bytes", device.name, len);
                let expected = format!("{} bytes", early.payload_len);
                return Err(FormatError::unexpected(early.offset, WHAT, expected, found)
                    .in_section(&early.header.idstr)
                    .into());
            }
        }
        if described_early.len() < early.len() {
            let found = format!("{} described", vmdesc.devices.len());
            let expected = format!("{} early ones and more", early.len());
            return Err(FormatError::unexpected(self.start, WHAT, expected, found).into());
        }
        let mut described = described.iter();
        while self.next_section()? {
            let at = self.offset();
            let header = self.header()?;
            let Some(device) = described.next().filter(|device| matches(&header, device)) else {
                let found = format!("instance {} in the stream", header.instance_id);
                let expected = "the next device of the description";
                return Err(FormatError::unexpected(at, WHAT, expected, found)
                    .in_section(&header.idstr)
                    .into());
            };
            let left = (element - 1).saturating_sub(self.at);
            let len = device
                .payload_len()
                .and_then(|len| usize::try_from(len).ok());
            let Some(len) = len.filter(|len| *len <= left) else {
                let found = format!("{:?} bytes described", device.payload_len());
                let expected = format!("at most {left} bytes");
                return Err(FormatError::unexpected(at, WHAT, expected, found)
                    .in_section(&header.idstr)
                    .into());
            };
            self.section(&header, at, len, Split::Vmdesc)?;
        }
        if self.at != element {
            let found = format!("{} bytes more", element.abs_diff(self.at));
            let expected = "the end of the elements before the description";
            return Err(FormatError::unexpected(self.offset(), WHAT, expected, found).into());
        }
        if let Some(device) = described.next() {
            let found = format!("'{}' missing in the stream", device.name);
            let expected = "each device of the description";
            return Err(FormatError::unexpected(self.offset(), WHAT, expected, found).into());
        }
        Ok(())
    }

    /// Walks from footer to footer, up to the end of the elements.
    fn by_footers(&mut self) -> Result<(), Error> {
        while self.next_section()? {
            let at = self.offset();
            let header = self.header()?;
            if self.footers == Footers::Absent {
                let what = "a stream with neither footers nor a description (vmdesc)";
                return Err(FormatError::unsupported(at, what).into());
            }
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(len) = find_footer(rest, header.section_id) else {
                let got = (self.bytes.len() - self.at) as u64;
                let error =
                    FormatError::truncated(self.offset(), "the state of a device", got + 1, got);
                return Err(error.in_section(&header.idstr).into());
            };
            self.section(&header, at, len, Split::Footer)?;
        }
        Ok(())
    }

    /// Behind the end of the elements, where there is no description that reaches to the end.
    fn no_description(&self, rule: VmDescRule) -> Result<(), Error> {
        const WHAT: &str = "the description of the devices (vmdesc)";
        let at = self.offset();
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let error = match rest {
            [] if rule == VmDescRule::Optional => return Ok(()),
            [] => FormatError::truncated(at, WHAT, vmdesc::HEAD as u64, 0),
            [vmdesc::ELEMENT, ..] => {
                let length = rest.get(1..).and_then(|length| length.first_chunk::<4>());
                let wanted = length.map_or(0, |length| u64::from(u32::from_be_bytes(*length)));
                let wanted = wanted + vmdesc::HEAD as u64;
                let got = rest.len() as u64;
                if got < wanted {
                    FormatError::truncated(at, WHAT, wanted, got)
                } else if got == wanted {
                    let found = "something else";
                    FormatError::unexpected(at, WHAT, "a JSON text", found)
                } else {
                    let left = got - wanted;
                    FormatError::new(at + wanted, FormatErrorKind::Trailing { what: WHAT, left })
                }
            }
            _ => {
                let what = "the end of the stream";
                let left = rest.len() as u64;
                FormatError::new(at, FormatErrorKind::Trailing { what, left })
            }
        };
        Err(error.into())
    }

    /// Passes commands, and tells whether a device section comes next; if not, the byte that ends
    /// the elements has been passed.
    fn next_section(&mut self) -> Result<bool, Error> {
        loop {
            let mut source = self.source();
            let at = source.position();
            match ElementType::decode(&mut source)? {
                ElementType::Eof => {
                    self.moved_to(&source);
                    return Ok(false);
                }
                ElementType::Full => return Ok(true),
                ElementType::Command => {
                    Command::decode(&mut source)?;
                    self.moved_to(&source);
                }
                other => {
                    let what = "the sections behind the RAM";
                    let expected = "devices only";
                    let found = format!("a section of type {:02x}", other as u8);
                    return Err(FormatError::unexpected(at, what, expected, found).into());
                }
            }
        }
    }

    fn header(&mut self) -> Result<SectionHeader, Error> {
        if self.sections.len() == limits::SECTIONS {
            let limit = limits::SECTIONS as u64;
            let what = "the list of sections";
            return Err(FormatError::too_long(self.offset(), what, limit + 1, limit).into());
        }
        let mut source = self.source();
        ElementType::decode(&mut source)?;
        let header = SectionHeader::decode(&mut source)?;
        self.moved_to(&source);
        Ok(header)
    }

    /// Passes a payload of `len` bytes and its footer, and keeps the section.
    fn section(
        &mut self,
        header: &SectionHeader,
        offset: u64,
        len: usize,
        split: Split,
    ) -> Result<(), Error> {
        let in_section = |error: Error| error.in_section(&header.idstr);
        let payload = self.at..self.at + len;
        let mut source = self.source();
        source
            .take_slice(len, "the state of a device")
            .map_err(in_section)?;
        if self.footers != Footers::Absent {
            section::decode_footer(&mut source, header.section_id).map_err(in_section)?;
        }
        self.moved_to(&source);
        let element = payload.start - header.encoded_len()..self.at;
        // The idstr stands behind the type byte, the section id and its own length.
        let idstr = element.start + 6..element.start + 6 + header.idstr.len();
        let slice = |range| self.bytes.get(range).unwrap_or_default();
        let section = DeviceSection {
            section_id: header.section_id,
            idstr: std::str::from_utf8(slice(idstr)).unwrap_or_default(),
            instance_id: header.instance_id,
            version_id: header.version_id,
            phase: Phase::Device,
            split,
            payload: slice(payload),
            element: slice(element),
            offset,
        };
        self.sections.push(section);
        Ok(())
    }

    fn source(&self) -> SliceSource<'a> {
        SliceSource::at(self.bytes.get(self.at..).unwrap_or_default(), self.offset())
    }

    fn moved_to(&mut self, source: &SliceSource<'a>) {
        self.at = self.bytes.len() - source.rest().len();
    }
}

fn matches(header: &SectionHeader, device: &vmdesc::Device) -> bool {
    header.idstr == device.name
        && header.instance_id == device.instance_id
        && device
            .version
            .is_none_or(|version| version == header.version_id)
}

/// The length of a payload, told from the section's footer: the first one that stands before
/// something that can begin an element, or end the stream.
pub(super) fn find_footer(bytes: &[u8], section_id: u32) -> Option<usize> {
    let footer = section::footer(section_id);
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let at = from + rest.iter().position(|byte| *byte == section::FOOTER)?;
        let (footer_here, next) = bytes.get(at..)?.split_at_checked(FOOTER_LEN)?;
        if footer_here == footer && begins_element(next) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Whether an element, the end of the elements, or nothing begins here. Where the bytes end early,
/// what is there decides.
fn begins_element(bytes: &[u8]) -> bool {
    let Some((first, rest)) = bytes.split_first() else {
        return true;
    };
    match ElementType::from_byte(*first) {
        Some(ElementType::Eof) => rest.first().is_none_or(|next| *next == vmdesc::ELEMENT),
        Some(ElementType::Start | ElementType::Full) => begins_header(rest),
        Some(ElementType::Part | ElementType::End) => true,
        Some(ElementType::Command) => rest.first().is_none_or(|high| *high == 0),
        None => false,
    }
}

fn begins_header(bytes: &[u8]) -> bool {
    let Some((_, rest)) = bytes.split_at_checked(4) else {
        return true;
    };
    let Some((len, rest)) = rest.split_first() else {
        return true;
    };
    let name = rest.get(..usize::from(*len)).unwrap_or(rest);
    *len > 0 && name.iter().all(u8::is_ascii_graphic)
}
