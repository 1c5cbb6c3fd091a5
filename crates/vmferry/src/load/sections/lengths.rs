//! The lengths of device sections, by their description.

use super::Footers;
use super::marks::{Mark, SearchBudget, marks};
use crate::error::{Error, FormatError};
use crate::load::Mode;
use crate::machine::Split;
use crate::wire::command::Command;
use crate::wire::section::{self, ElementType, FOOTER_LEN, SectionHeader};
use crate::wire::vmdesc::Device;
use crate::wire::{SliceSource, Source, limits};

/// What a description says.
#[derive(Debug)]
pub(in crate::load) enum Lengths {
    /// Of each section's payload.
    Described(Vec<Length>),
    /// Not everything: other elements stand between the devices.
    Unknown,
}

/// The length of a payload in bytes, and where it is from.
#[derive(Debug, Clone, Copy)]
pub(in crate::load) struct Length {
    pub(super) bytes: usize,
    pub(super) split: Split,
}

const WHAT: &str = "the devices against their description (vmdesc)";

/// Walks along the devices of the description through `bytes`, which stand at offset `start` and must end
/// with the elements. `budget` is what this search and all others share.
pub(super) fn described(
    bytes: &[u8],
    start: u64,
    described: &[Device],
    footers: Footers,
    mode: Mode,
    budget: &SearchBudget,
) -> Result<Lengths, Error> {
    let mut source = SliceSource::at(bytes, start);
    let mut described = described.iter();
    let mut lengths = Vec::new();
    loop {
        let at = source.position();
        match ElementType::decode(&mut source)? {
            ElementType::Eof => break,
            ElementType::Command => match Command::decode(&mut source)? {
                Command::Packaged(_) => return Ok(Lengths::Unknown),
                _ => continue,
            },
            ElementType::Full => {}
            ElementType::Start | ElementType::Part | ElementType::End => {
                return Ok(Lengths::Unknown);
            }
        }
        if lengths.len() == limits::SECTIONS {
            let limit = limits::SECTIONS as u64;
            return Err(FormatError::too_long(at, "the list of sections", limit + 1, limit).into());
        }
        let header = SectionHeader::decode(&mut source)?;
        let device = described.next().filter(|device| matches(&header, device));
        let len = length(&header, device, at, source.rest().len())?;
        let may_differ = footers != Footers::Absent && budget.may_go_on(start + bytes.len() as u64);
        let other = device.filter(|device| may_differ && device.may_be_of_other_length());
        let other = other.and_then(|_| {
            let next = described.as_slice().first();
            other_length(source.rest(), len, header.section_id, next, budget)
        });
        let split = other.map_or(Split::Vmdesc, |_| Split::Footer);
        let bytes = other.unwrap_or(len);
        source
            .take_slice(bytes, "the state of a device")
            .and_then(|_| footer(&mut source, &header, footers, mode))
            .map_err(|error| error.in_section(&header.idstr))?;
        lengths.push(Length { bytes, split });
    }
    if !source.rest().is_empty() {
        let found = format!("{} bytes more", source.rest().len());
        let expected = "the end of the elements before the description";
        return Err(FormatError::unexpected(source.position(), WHAT, expected, found).into());
    }
    if let Some(device) = described.next() {
        let found = format!("'{}' missing in the stream", device.name);
        let expected = "each device of the description";
        return Err(FormatError::unexpected(source.position(), WHAT, expected, found).into());
    }
    Ok(Lengths::Described(lengths))
}

/// The bytes of a payload, of which there can be `left` at most.
fn length(
    header: &SectionHeader,
    device: Option<&Device>,
    at: u64,
    left: usize,
) -> Result<usize, Error> {
    let unexpected = |expected: String, found: String| {
        FormatError::unexpected(at, WHAT, expected, found).in_section(&header.idstr)
    };
    let Some(device) = device else {
        let expected = "the next device of the description".to_owned();
        let found = format!("instance {} in the stream", header.instance_id);
        return Err(unexpected(expected, found).into());
    };
    let len = device.payload_len();
    let fits = len.and_then(|len| usize::try_from(len).ok());
    let fits = fits.filter(|len| *len < left);
    fits.ok_or_else(|| {
        let expected = format!("at most {left} bytes");
        unexpected(expected, format!("{len:?} bytes described")).into()
    })
}

/// Where the section ends by its footer and what follows, if that is not where it ends by its description.
fn other_length(
    bytes: &[u8],
    described: usize,
    section_id: u32,
    next: Option<&Device>,
    budget: &SearchBudget,
) -> Option<usize> {
    let footer = section::footer(section_id);
    let ends = |mark: &Mark<'_>| {
        let mut after = SliceSource::new(mark.after);
        if mark.footer != footer {
            return false;
        }
        match (ElementType::decode(&mut after), next) {
            (Ok(ElementType::Eof), None) => true,
            (Ok(ElementType::Full), Some(next)) => {
                SectionHeader::decode(&mut after).is_ok_and(|header| matches(&header, next))
            }
            _ => false,
        }
    };
    let (here, after) = bytes.get(described..)?.split_at_checked(FOOTER_LEN)?;
    let here = Mark {
        at: described,
        footer: here,
        after,
    };
    if ends(&here) {
        return None;
    }
    let found = marks(bytes).find(ends).map(|mark| mark.at);
    budget.spend(found.unwrap_or(bytes.len()));
    found
}

fn footer(
    source: &mut SliceSource<'_>,
    header: &SectionHeader,
    footers: Footers,
    mode: Mode,
) -> Result<(), FormatError> {
    if footers == Footers::Absent {
        return Ok(());
    }
    let found = source.peek(FOOTER_LEN + 1)?;
    let next = found.get(FOOTER_LEN).copied();
    // A wrong footer before something that can be right is passed over with the others.
    let is_next = next.and_then(ElementType::from_byte).is_some();
    if mode == Mode::Rescue && found.first() == Some(&section::FOOTER) && is_next {
        source.take(FOOTER_LEN, "a section footer")?;
        return Ok(());
    }
    section::decode_footer(source, header.section_id)
}

pub(super) fn matches(header: &SectionHeader, device: &Device) -> bool {
    header.idstr == device.name
        && header.instance_id == device.instance_id
        && device
            .version
            .is_none_or(|version| version == header.version_id)
}
