//! Device sections, and where they end.

use super::devices::Length;
use super::marks::{Mark, marks};
use super::pass::{Level, Pass, next_byte};
use super::resync::begins_section;
use super::telling::Begin;
use super::{AssumptionKind, LoadError, Mode, Visitor};
use crate::error::{Error, FormatError};
use crate::machine::{DeviceSection, Phase, Split};
use crate::wire::section::{self, ElementType, FOOTER_LEN, SectionHeader};
use crate::wire::{SliceSource, Source, limits, vmdesc};

/// Whether sections end with a footer: all of one stream do, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Footers {
    /// No section has ended yet.
    Unknown,
    Present,
    Absent,
}

/// A device section whose end was told from its footer.
pub(super) struct Guess {
    pub(super) header: SectionHeader,
    pub(super) payload_len: usize,
    pub(super) offset: u64,
}

const STATE: &str = "the state of a device";

/// How far it is looked for a footer at first.
const SIGHT: usize = 1 << 10;

/// As much as it takes to see what stands behind a footer.
const AHEAD: usize = FOOTER_LEN + 1 + 4 + 1 + 255 + 8;

impl<V: Visitor> Pass<'_, V> {
    /// Reads a device section, behind its type byte.
    pub(super) fn full<T: Source>(
        &mut self,
        source: &mut T,
        begin: Begin,
    ) -> Result<(), LoadError<V::Error>> {
        let header = SectionHeader::decode(source)?;
        self.counted(begin.offset)?;
        let phase = match begin.level {
            Level::Stream => Phase::Early,
            Level::Tail | Level::Package => Phase::Device,
        };
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
                self.guess(source, &header, &mut element)
                    .map_err(in_section)?;
                self.guesses.push(Guess {
                    header: header.clone(),
                    payload_len: element.len() - payload,
                    offset: begin.offset,
                });
                Split::Footer
            }
        };
        let payload = payload..element.len();
        self.footer(source, header.section_id, &header.idstr)?;
        if self.footers != Footers::Absent {
            element.extend_from_slice(&section::footer(header.section_id));
        }
        self.summary.devices += 1;
        let section = DeviceSection {
            section_id: header.section_id,
            idstr: &header.idstr,
            instance_id: header.instance_id,
            version_id: header.version_id,
            phase,
            split,
            payload: element.get(payload).unwrap_or_default(),
            element: &element,
            offset: begin.offset,
        };
        self.visitor.device(&section).map_err(LoadError::Visitor)?;
        self.show_section(begin, source.position(), ElementType::Full, &header)
    }

    fn counted(&self, at: u64) -> Result<(), Error> {
        let limit = limits::SECTIONS as u64;
        if self.summary.devices < limit {
            return Ok(());
        }
        Err(FormatError::too_long(at, "the list of sections", limit + 1, limit).into())
    }

    /// Takes a payload up to its footer.
    fn guess<T: Source>(
        &mut self,
        source: &mut T,
        header: &SectionHeader,
        element: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let at = source.position();
        if self.footers == Footers::Absent {
            let what = "a stream with neither footers nor a description (vmdesc)";
            return Err(FormatError::unsupported(at, what).into());
        }
        let limit = limits::DEVICE_STATE - self.guessed_len;
        let before = element.len();
        self.to_footer(source, header.section_id, |piece| {
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

    /// Passes a payload up to its footer, and tells how long it is.
    pub(super) fn pass_to_footer<T: Source>(
        &self,
        source: &mut T,
        section_id: u32,
    ) -> Result<u64, Error> {
        let mut len = 0;
        self.to_footer(source, section_id, |piece| {
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
        mut each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let at = source.position();
        let mut sight = SIGHT;
        loop {
            let window = source.peek(sight)?;
            let (len, is_end) = (window.len(), window.len() < sight);
            let is_all = is_end || sight == limits::TAKE || !self.sought.may_go_on(at);
            let found = self.find_footer(window, section_id, is_all);
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

    /// The first footer of this section that stands before something that can begin an element, or end
    /// the stream. In rescue mode, where there is none in sight, also that of another section before a
    /// device's: looking for the own one goes on to the end of what can be in sight, unless
    /// too much was searched already.
    fn find_footer(&self, bytes: &[u8], section_id: u32, is_all: bool) -> Option<usize> {
        let footer = section::footer(section_id);
        let is_own = |mark: &Mark<'_>| mark.footer == footer && self.begins_element(mark.after);
        let own = marks(bytes).find(is_own).map(|mark| mark.at);
        if self.mode == Mode::Strict || own.is_some() {
            return own;
        }
        let other = marks(bytes).find(|mark| begins_section(mark.after))?;
        self.sought.add(bytes.len());
        is_all.then_some(other.at)
    }

    /// Whether an element, the end of the elements, or nothing begins here. Where the bytes end early,
    /// what is there decides.
    pub(super) fn begins_element(&self, bytes: &[u8]) -> bool {
        let Some((first, rest)) = bytes.split_first() else {
            return true;
        };
        match ElementType::from_byte(*first) {
            Some(ElementType::Eof) => rest.first().is_none_or(|next| *next == vmdesc::ELEMENT),
            Some(ElementType::Start | ElementType::Full) => begins_header(rest),
            Some(ElementType::Part | ElementType::End) => match rest.first_chunk() {
                Some(id) => self.is_started(u32::from_be_bytes(*id)),
                None => true,
            },
            Some(ElementType::Command) => match rest {
                [high, low, ..] => *high == 0 && *low < 64,
                [high] => *high == 0,
                [] => true,
            },
            None => false,
        }
    }

    pub(super) fn is_started(&self, section_id: u32) -> bool {
        self.started.contains_key(&section_id)
    }

    /// Reads the footer of a section, if sections have them.
    pub(super) fn footer<T: Source>(
        &mut self,
        source: &mut T,
        section_id: u32,
        idstr: &str,
    ) -> Result<(), LoadError<V::Error>> {
        if self.footers == Footers::Unknown {
            self.footers = match next_byte(source)? {
                Some(section::FOOTER) => Footers::Present,
                _ => Footers::Absent,
            };
        }
        if self.footers == Footers::Absent {
            return Ok(());
        }
        if self.mode == Mode::Rescue {
            return self.any_footer(source, section_id, idstr);
        }
        section::decode_footer(source, section_id).map_err(|error| error.in_section(idstr).into())
    }

    /// Reads a footer that may be wrong, or missing, if what follows is something to go on with.
    fn any_footer<T: Source>(
        &mut self,
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
        let behind = ahead.get(FOOTER_LEN..).unwrap_or_default();
        let taken = if ahead.len() >= FOOTER_LEN
            && ahead.first() == Some(&section::FOOTER)
            && self.begins_element(behind)
        {
            FOOTER_LEN
        } else if self.begins_likely(ahead) {
            0
        } else {
            return Err(error.in_section(idstr).into());
        };
        source.take(taken, "a section footer")?;
        let reason = error.to_string();
        self.assume(at, Some(idstr), AssumptionKind::Footer { reason })
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

fn take_all(source: &mut impl Source, mut len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    while len > 0 {
        let piece = source.take(len.min(limits::TAKE), STATE)?;
        out.extend_from_slice(piece);
        len -= piece.len();
    }
    Ok(())
}
