//! What comes after the pages: device sections, the end, and the description.
//!
//! A stream ends where QEMU ends it: after the description that fits its elements, or after the elements where there
//! is none. What comes then (a volume is larger than the stream in it, a file was padded, an older stream was longer)
//! is passed over, and noted.

use super::devices::{self, Lengths};
use super::ending::{Found, Stop};
use super::pass::{Ended, Level, Pass, next_byte};
use super::{AssumptionKind, LoadError, Mode, Visitor, VmDescRule};
use crate::error::{Error, FormatError};
use crate::wire::section::ElementType;
use crate::wire::vmdesc::{self, VmDesc};
use crate::wire::{SliceSource, Source};

const VMDESC: &str = "the description of the devices (vmdesc)";

impl<V: Visitor> Pass<'_, V> {
    /// Reads everything after the pages, and returns where the stream ends.
    pub(super) fn tail<T: Source>(&mut self, source: &mut T) -> Result<u64, LoadError<V::Error>> {
        let eof = Some(ElementType::Eof as u8);
        if self.postcopy.has_switched() && next_byte(source)? == eof {
            // No description follows.
            self.elements(source, Level::Tail)?;
            let end = source.position();
            self.pass_over_rest(source, 0, end)?;
            return Ok(end);
        }
        let start = source.position();
        let rest = self.read_rest(source, start);
        let (bytes, is_cut) = (rest.bytes, matches!(rest.stop, Stop::Failed(_)));
        let limit = match rest.stop {
            Stop::Failed(error) if !self.rescues(&error) => return Err(error.into()),
            Stop::Failed(error) => {
                self.cut_at(start + bytes.len() as u64, &error)?;
                None
            }
            Stop::Limit(error) => Some(error),
            Stop::End => None,
        };
        if let Some(found) = rest.found.as_ref().filter(|_| rest.is_ambiguous) {
            let at = start + found.element as u64;
            let expected = "only one to which the devices lead";
            self.accept(FormatError::unexpected(at, VMDESC, expected, "another one"))?;
        }
        let found = match rest.found {
            Some(found) => Some(found),
            None => self.find_rejected(&bytes, start)?,
        };
        let end = match found {
            Some(found) => self.described(&bytes, start, &found)?,
            None => self.undescribed(&bytes, start, limit)?,
        };
        if !self.cut && !is_cut {
            let read = (start + bytes.len() as u64).saturating_sub(end);
            self.pass_over_rest(source, read, end)?;
        }
        Ok(end)
    }

    /// Shows devices with their description, and returns where that ends.
    fn described(
        &mut self,
        bytes: &[u8],
        start: u64,
        found: &Found,
    ) -> Result<u64, LoadError<V::Error>> {
        let elements = bytes.get(..found.element).unwrap_or_default();
        self.describe(elements, start, found)?;
        let mut inner = SliceSource::at(elements, start);
        self.elements(&mut inner, Level::Tail)?;
        if !inner.rest().is_empty() {
            let left = format!("{} bytes more", inner.rest().len());
            let expected = "the end of the elements before the description";
            let what = "the devices against their description (vmdesc)";
            let error = FormatError::unexpected(inner.position(), what, expected, left);
            self.accept(error)?;
        }
        self.check_guesses(&found.vmdesc, start)?;
        let json = bytes.get(found.element + vmdesc::HEAD..found.end);
        self.visitor
            .vmdesc(json.unwrap_or_default())
            .map_err(LoadError::Visitor)?;
        let end = start + found.end as u64;
        self.show_vmdesc(start + found.element as u64, end)?;
        // What ended the elements early lies before the description.
        self.cut = false;
        Ok(end)
    }

    /// Shows devices that nothing describes, and returns where the stream ends. `limit` is the error where there is
    /// more than was read.
    fn undescribed(
        &mut self,
        bytes: &[u8],
        start: u64,
        limit: Option<Error>,
    ) -> Result<u64, LoadError<V::Error>> {
        let end = self.end_of_elements(bytes, start).map(|end| end.at);
        if let (Some(error), None) = (limit, end) {
            if !self.rescues(&error) {
                return Err(error.into());
            }
            self.cut_at(start + bytes.len() as u64, &error)?;
        }
        let (elements, after) = bytes.split_at(end.unwrap_or(bytes.len()));
        let mut inner = SliceSource::at(elements, start);
        let ended = self.elements(&mut inner, Level::Tail)?;
        let (left, at) = (inner.rest(), inner.position());
        if ended == Ended::Cut {
            return Ok(at);
        }
        let after = if left.is_empty() { after } else { left };
        self.no_vmdesc(after, at)?;
        // A damaged description belongs to the stream.
        Ok(match after {
            [vmdesc::ELEMENT, ..] if !self.postcopy.has_switched() => {
                at + described_len(after).min(after.len() as u64)
            }
            _ => at,
        })
    }

    /// Takes the lengths of the sections from their description.
    fn describe(
        &mut self,
        bytes: &[u8],
        start: u64,
        found: &Found,
    ) -> Result<(), LoadError<V::Error>> {
        match self.lengths_of(bytes, start, &found.vmdesc) {
            Ok(Lengths::Described(lengths)) => {
                self.lengths = lengths.into();
                Ok(())
            }
            // Other sections among them: footers tell, and are checked against the description.
            Ok(Lengths::Unknown) => Ok(()),
            Err(error) if self.rescues(&error) => {
                let reason = error.to_string();
                self.assume(start, None, AssumptionKind::Guessed { reason })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the sections that were split by their footers are those of the description.
    fn check_guesses(&mut self, vmdesc: &VmDesc, start: u64) -> Result<(), LoadError<V::Error>> {
        const WHAT: &str = "the devices against their description (vmdesc)";
        let described = &vmdesc.devices;
        let mut wrong = None;
        for (guess, device) in self.guesses.iter().zip(described) {
            let len = device.payload_len();
            let fits = len == Some(guess.payload_len as u64) || device.may_be_of_other_length();
            if !devices::matches(&guess.header, device) || !fits {
                let found = format!("'{}' of {:?} bytes", device.name, len);
                let expected = format!("{} bytes", guess.payload_len);
                let error = FormatError::unexpected(guess.offset, WHAT, expected, found);
                wrong = Some(error.in_section(&guess.header.idstr));
                break;
            }
        }
        if wrong.is_none() && (described.len() as u64) != self.summary.devices {
            let found = format!("{} described", described.len());
            let expected = format!("{} as in the stream", self.summary.devices);
            wrong = Some(FormatError::unexpected(start, WHAT, expected, found));
        }
        match wrong {
            None => Ok(()),
            Some(error) if self.mode == Mode::Strict => Err(Error::from(error).into()),
            Some(error) => {
                let (at, section) = (error.at, error.section.clone());
                let reason = error.to_string();
                self.assume(at, section.as_deref(), AssumptionKind::Guessed { reason })
            }
        }
    }

    /// After the end of the elements, where there is no description.
    fn no_vmdesc(&mut self, after: &[u8], at: u64) -> Result<(), LoadError<V::Error>> {
        let switched = self.postcopy.has_switched();
        let may_lack = self.vmdesc == VmDescRule::Optional || switched;
        let error = match after {
            [vmdesc::ELEMENT, ..] if !switched => damaged_vmdesc(after, at),
            _ if may_lack => return Ok(()),
            [] => FormatError::truncated(at, VMDESC, vmdesc::HEAD as u64, 0),
            [first, ..] => FormatError::unexpected(at, VMDESC, "06", format!("{first:02x}")),
        };
        if self.mode == Mode::Strict {
            return Err(Error::from(error).into());
        }
        let reason = error.to_string();
        self.assume(at, None, AssumptionKind::Guessed { reason })
    }

    /// Passes over what comes after the end of the stream, of which `read` bytes were read already.
    fn pass_over_rest<T: Source>(
        &mut self,
        source: &mut T,
        read: u64,
        end: u64,
    ) -> Result<(), LoadError<V::Error>> {
        source.expect_end();
        let bytes = match source.skip_rest() {
            Ok(bytes) => read.saturating_add(bytes),
            Err(error) if self.rescues(&error) => {
                return self.cut_at(source.position(), &error);
            }
            Err(error) => return Err(error.into()),
        };
        match bytes {
            0 => Ok(()),
            bytes => self.assume(end, None, AssumptionKind::Trailing { bytes }),
        }
    }

    fn cut_at(&mut self, at: u64, error: &Error) -> Result<(), LoadError<V::Error>> {
        let reason = error.to_string();
        self.assume(at, None, AssumptionKind::Cut { reason })
    }
}

/// The bytes of a description, as its head says.
fn described_len(bytes: &[u8]) -> u64 {
    let length = bytes.get(1..).and_then(|length| length.first_chunk::<4>());
    let length = length.map_or(0, |length| u64::from(u32::from_be_bytes(*length)));
    length + vmdesc::HEAD as u64
}

/// What is wrong with a description that was not found by its length.
fn damaged_vmdesc(bytes: &[u8], at: u64) -> FormatError {
    let wanted = described_len(bytes);
    let got = bytes.len() as u64;
    if got < wanted {
        FormatError::truncated(at, VMDESC, wanted, got)
    } else {
        FormatError::unexpected(at, VMDESC, "a JSON text", "something else")
    }
}
