//! Device sections, and where sections end.
//!
//! A device's section does not say how long it is. A description gives the lengths; without one, a section ends at its
//! footer, and that is a guess, because a payload can hold what looks like a footer.

mod lengths;
mod marks;
mod shape;
mod started;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub(super) use lengths::Lengths;
use lengths::{Length, described};
use marks::SearchBudget;
pub(super) use marks::{Mark, marks};
pub(super) use shape::begins_section;
use shape::{begins_element, begins_likely_element};
use started::StartedSections;

use super::report::{ElementStart, Report};
use super::{AssumptionKind, LoadError, Mode, Visitor};
use crate::error::{Error, FormatError};
use crate::load::source::Source;
use crate::machine::{DeviceSection, Phase, Split};
use crate::wire::section::{self, ElementType, FOOTER_LEN, SectionHeader};
use crate::wire::vmdesc::VmDesc;
use crate::wire::{SliceSource, limits};

/// Whether sections end with a footer: all of one stream do, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Footers {
    /// No section has ended yet.
    #[default]
    Unknown,
    Present,
    Absent,
}

/// A device section whose end was guessed from its footer.
#[derive(Debug)]
struct Guess {
    header: SectionHeader,
    payload_len: usize,
    offset: u64,
}

/// What is known of a stream's sections.
#[derive(Debug, Default)]
pub(super) struct Sections {
    footers: Footers,
    started: StartedSections,
    /// Device sections so far.
    devices: u64,
    guesses: Vec<Guess>,
    /// Bytes of the payloads of all of those.
    guessed_len: usize,
    /// The lengths of the payloads of the device sections to come, where a description gives them.
    lengths: VecDeque<Length>,
    budget: SearchBudget,
}

const STATE: &str = "the state of a device";

/// How far ahead a footer is looked for at first.
const SIGHT: usize = 1 << 10;

/// As much as it takes to see a footer and what comes after it.
const AHEAD: usize = FOOTER_LEN + 1 + 4 + 1 + 255 + 8;

impl Sections {
    /// All sections have footers. Otherwise the end of the first section shows whether they do.
    pub(super) fn expect_footers(&mut self) {
        self.footers = Footers::Present;
    }

    /// Whether sections have footers, or nothing is known about it yet.
    pub(super) fn may_have_footers(&self) -> bool {
        self.footers != Footers::Absent
    }

    /// How many device sections there were.
    pub(super) fn devices(&self) -> u64 {
        self.devices
    }

    /// An iterable section is started at offset `at`.
    pub(super) fn start(&mut self, header: &SectionHeader, at: u64) -> Result<(), FormatError> {
        self.started.insert(header, at)
    }

    /// The iterable section that a PART or END at offset `at` goes on with.
    pub(super) fn started(&self, section_id: u32, at: u64) -> Result<&SectionHeader, FormatError> {
        self.started.get(section_id, at)
    }

    pub(super) fn is_started(&self, section_id: u32) -> bool {
        self.started.has(section_id)
    }

    /// Whether an element, the end of the elements, or nothing begins here.
    pub(super) fn begins_element(&self, bytes: &[u8]) -> bool {
        begins_element(bytes, &self.started)
    }

    /// The lengths of the device sections in `elements` at offset `start`, which are all that come before the
    /// description.
    pub(super) fn described_lengths(
        &self,
        elements: &[u8],
        start: u64,
        vmdesc: &VmDesc,
        mode: Mode,
    ) -> Result<Lengths, Error> {
        let devices = vmdesc.devices.get(self.guesses.len()..);
        let devices = devices.unwrap_or_default();
        described(elements, start, devices, self.footers, mode, &self.budget)
    }

    /// The lengths of the device sections to come.
    pub(super) fn set_lengths(&mut self, lengths: Vec<Length>) {
        self.lengths = lengths.into();
    }

    /// Whether the sections whose ends were guessed are those of the description, and there are as many in all.
    pub(super) fn check_guesses(&self, vmdesc: &VmDesc, start: u64) -> Result<(), FormatError> {
        const WHAT: &str = "the devices against their description (vmdesc)";
        let described = &vmdesc.devices;
        for (guess, device) in self.guesses.iter().zip(described) {
            let len = device.payload_len();
            let fits = len == Some(guess.payload_len as u64) || device.may_be_of_other_length();
            if !lengths::matches(&guess.header, device) || !fits {
                let found = format!("'{}' of {:?} bytes", device.name, len);
                let expected = format!("{} bytes", guess.payload_len);
                let error = FormatError::unexpected(guess.offset, WHAT, expected, found);
                return Err(error.in_section(&guess.header.idstr));
            }
        }
        if (described.len() as u64) != self.devices {
            let found = format!("{} described", described.len());
            let expected = format!("{} as in the stream", self.devices);
            return Err(FormatError::unexpected(start, WHAT, expected, found));
        }
        Ok(())
    }

    /// Reads a device section, after its type byte.
    pub(super) fn device<T: Source, V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut T,
        begin: ElementStart,
        phase: Phase,
    ) -> Result<(), LoadError<V::Error>> {
        let header = SectionHeader::decode(source)?;
        self.counted(begin.offset())?;
        let mut element = Vec::new();
        header.encode(ElementType::Full, &mut element);
        let payload = element.len();
        let in_section = |error: Error| error.in_section(&header.idstr);
        let split = match self.lengths.pop_front() {
            Some(Length { bytes, split }) => {
                take_all(source, bytes, &mut element).map_err(in_section)?;
                split
            }
            None => {
                self.guess(source, &header, report.mode(), &mut element)
                    .map_err(in_section)?;
                self.guesses.push(Guess {
                    header: header.clone(),
                    payload_len: element.len() - payload,
                    offset: begin.offset(),
                });
                Split::Footer
            }
        };
        let payload = payload..element.len();
        self.footer(report, source, header.section_id, &header.idstr)?;
        if self.footers != Footers::Absent {
            element.extend_from_slice(&section::footer(header.section_id));
        }
        self.devices += 1;
        let section = DeviceSection {
            section_id: header.section_id,
            idstr: &header.idstr,
            instance_id: header.instance_id,
            version_id: header.version_id,
            phase,
            split,
            payload: element.get(payload).unwrap_or_default(),
            element: &element,
            offset: begin.offset(),
        };
        report.show(|visitor| visitor.device(&section))?;
        report.section(begin, source.position(), ElementType::Full, &header)
    }

    fn counted(&self, at: u64) -> Result<(), Error> {
        let limit = limits::SECTIONS as u64;
        if self.devices < limit {
            return Ok(());
        }
        Err(FormatError::too_long(at, "the list of sections", limit + 1, limit).into())
    }

    /// Takes a payload up to its footer.
    fn guess<T: Source>(
        &mut self,
        source: &mut T,
        header: &SectionHeader,
        mode: Mode,
        element: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let at = source.position();
        if self.footers == Footers::Absent {
            let what = "a stream with neither footers nor a description (vmdesc)";
            return Err(FormatError::unsupported(at, what).into());
        }
        let limit = limits::DEVICE_STATE - self.guessed_len;
        let before = element.len();
        self.to_footer(source, header.section_id, mode, |piece| {
            element.extend_from_slice(piece);
            let len = element.len() - before;
            if len > limit {
                let what = "the state of all devices";
                let all = (limits::DEVICE_STATE - limit + len) as u64;
                let limit = limits::DEVICE_STATE as u64;
                return Err(FormatError::too_long(at, what, all, limit).into());
            }
            Ok(())
        })?;
        self.guessed_len += element.len() - before;
        Ok(())
    }

    /// Skips a payload up to its footer, and returns how long it is.
    pub(super) fn skip_to_footer<T: Source>(
        &self,
        source: &mut T,
        section_id: u32,
        mode: Mode,
    ) -> Result<u64, Error> {
        let mut len = 0;
        self.to_footer(source, section_id, mode, |piece| {
            len += piece.len() as u64;
            Ok(())
        })?;
        Ok(len)
    }

    /// Looks ahead a little first, and further only as long as it takes: sections may be short, and many.
    fn to_footer<T: Source>(
        &self,
        source: &mut T,
        section_id: u32,
        mode: Mode,
        mut each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let at = source.position();
        let mut sight = SIGHT;
        loop {
            let window = source.peek(sight)?;
            let (len, is_end) = (window.len(), window.len() < sight);
            let is_all = is_end || sight == limits::TAKE || !self.budget.may_go_on(at);
            let found = self.find_footer(window, section_id, mode, is_all);
            let is_sure = is_end || found.is_some_and(|found| found + AHEAD <= len);
            if !is_sure && sight < limits::TAKE {
                sight = (2 * sight).min(limits::TAKE);
                continue;
            }
            let piece = match found {
                Some(found) => found,
                None if is_end => {
                    let got = source.position() - at + len as u64;
                    return Err(FormatError::truncated(at, STATE, got + 1, got).into());
                }
                None => len - (FOOTER_LEN - 1),
            };
            if piece > 0 {
                each(source.take(piece, STATE)?)?;
            }
            if found.is_some() && (is_sure || piece == 0) {
                return Ok(());
            }
        }
    }

    /// The first footer of this section that is before something that can begin an element, or end
    /// the stream. In rescue mode, where there is none in sight, also that of another section before a
    /// device's: looking for the own one goes on to the end of what can be in sight, unless
    /// too much was searched already.
    fn find_footer(
        &self,
        bytes: &[u8],
        section_id: u32,
        mode: Mode,
        is_all: bool,
    ) -> Option<usize> {
        let footer = section::footer(section_id);
        let is_own = |mark: &Mark<'_>| mark.footer == footer && self.begins_element(mark.after);
        let own = marks(bytes).find(is_own).map(|mark| mark.at);
        if mode == Mode::Strict || own.is_some() {
            return own;
        }
        let other = marks(bytes).find(|mark| begins_section(mark.after))?;
        self.budget.spend(bytes.len());
        is_all.then_some(other.at)
    }

    /// Reads the footer of a section, if sections have them.
    pub(super) fn footer<T: Source, V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut T,
        section_id: u32,
        idstr: &str,
    ) -> Result<(), LoadError<V::Error>> {
        if self.footers == Footers::Unknown {
            self.footers = match source.peek_u8()? {
                Some(section::FOOTER) => Footers::Present,
                _ => Footers::Absent,
            };
        }
        if self.footers == Footers::Absent {
            return Ok(());
        }
        if report.mode() == Mode::Rescue {
            return self.any_footer(report, source, section_id, idstr);
        }
        section::decode_footer(source, section_id).map_err(|error| error.in_section(idstr).into())
    }

    /// Reads a footer that may be wrong, or missing, if what follows is something to go on with.
    fn any_footer<T: Source, V: Visitor>(
        &self,
        report: &mut Report<'_, V>,
        source: &mut T,
        section_id: u32,
        idstr: &str,
    ) -> Result<(), LoadError<V::Error>> {
        let at = source.position();
        let ahead = source.peek(AHEAD)?;
        let mut here = SliceSource::at(ahead, at);
        let Err(error) = section::decode_footer(&mut here, section_id) else {
            source.take(FOOTER_LEN, "a section footer")?;
            return Ok(());
        };
        let after = ahead.get(FOOTER_LEN..).unwrap_or_default();
        let taken = if ahead.len() >= FOOTER_LEN
            && ahead.first() == Some(&section::FOOTER)
            && self.begins_element(after)
        {
            FOOTER_LEN
        } else if begins_likely_element(ahead, &self.started) {
            0
        } else {
            return Err(error.in_section(idstr).into());
        };
        source.take(taken, "a section footer")?;
        let reason = error.to_string();
        report.assume(at, Some(idstr), AssumptionKind::Footer { reason })
    }
}

fn take_all(source: &mut impl Source, mut len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    while len > 0 {
        let piece = source.take(len.min(limits::TAKE), STATE)?;
        out.extend_from_slice(piece);
        len -= piece.len();
    }
    Ok(())
}
