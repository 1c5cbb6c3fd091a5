//! What comes after the pages: device sections, the end, and the description.
//!
//! A stream ends where QEMU ends it: after the description that fits its elements, or after the elements where there
//! is none. What comes then (a volume is larger than the stream in it, a file was padded, an older stream was longer)
//! is passed over, and noted.

use super::{Ended, Level, Walk};
use crate::error::{Error, FormatError};
use crate::load::description::{DescriptionSearch, Found, Stop};
use crate::load::sections::Lengths;
use crate::load::source::{Input, Source};
use crate::load::{AssumptionKind, ElementKind, LoadError, Mode, Nesting, Visitor, VmDescRule};
use crate::wire::section::ElementType;
use crate::wire::vmdesc::{self, VmDesc};
use crate::wire::{SliceSource, Source as _};

const VMDESC: &str = "the description of the devices (vmdesc)";

impl<V: Visitor> Walk<'_, V> {
    /// Reads everything after the pages, and returns where the stream ends.
    pub(super) fn tail<T: Source>(&mut self, source: &mut T) -> Result<u64, LoadError<V::Error>> {
        let eof = Some(ElementType::Eof as u8);
        if self.commands.has_switched() && source.peek_u8()? == eof {
            // No description follows.
            self.elements(source, Level::Tail)?;
            let end = source.position();
            self.pass_over_rest(source, 0, end)?;
            return Ok(end);
        }
        let start = source.position();
        let rest = self.search(start).read_rest(source);
        let (bytes, has_failed) = (rest.bytes, matches!(rest.stop, Stop::Failed(_)));
        let limit = match rest.stop {
            Stop::Failed(error) if !self.report.rescues(&error) => return Err(error.into()),
            Stop::Failed(error) => {
                self.report.cut(start + bytes.len() as u64, &error)?;
                None
            }
            Stop::Limit(error) => Some(error),
            Stop::End => None,
        };
        if let Some(found) = rest.found.as_ref().filter(|_| rest.is_ambiguous) {
            let at = start + found.element as u64;
            let expected = "only one to which the devices lead";
            self.report
                .accept(FormatError::unexpected(at, VMDESC, expected, "another one"))?;
        }
        let found = match rest.found {
            Some(found) => Some(found),
            None => self.search(start).find_rejected(&bytes)?,
        };
        let end = match found {
            Some(found) => self.described(&bytes, start, &found)?,
            None => self.undescribed(&bytes, start, limit)?,
        };
        if !self.is_cut && !has_failed {
            let read = (start + bytes.len() as u64).saturating_sub(end);
            self.pass_over_rest(source, read, end)?;
        }
        Ok(end)
    }

    fn search(&self, start: u64) -> DescriptionSearch<'_> {
        DescriptionSearch::new(&self.sections, self.report.mode(), start)
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
        let mut inner = Input(SliceSource::at(elements, start));
        self.elements(&mut inner, Level::Tail)?;
        if !inner.rest().is_empty() {
            let left = format!("{} bytes more", inner.rest().len());
            let expected = "the end of the elements before the description";
            let what = "the devices against their description (vmdesc)";
            let error = FormatError::unexpected(inner.position(), what, expected, left);
            self.report.accept(error)?;
        }
        self.check_guesses(&found.vmdesc, start)?;
        let json = bytes.get(found.element + vmdesc::HEAD..found.end);
        self.report
            .show(|visitor| visitor.vmdesc(json.unwrap_or_default()))?;
        let end = start + found.end as u64;
        let element = self
            .report
            .begin(start + found.element as u64, Nesting::Stream);
        self.report.element(element, end, ElementKind::VmDesc)?;
        // What ended the elements early lies before the description.
        self.is_cut = false;
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
        let end = self.search(start).end_of_elements(bytes).map(|end| end.at);
        if let (Some(error), None) = (limit, end) {
            if !self.report.rescues(&error) {
                return Err(error.into());
            }
            self.report.cut(start + bytes.len() as u64, &error)?;
        }
        let (elements, after) = bytes.split_at(end.unwrap_or(bytes.len()));
        let mut inner = Input(SliceSource::at(elements, start));
        let ended = self.elements(&mut inner, Level::Tail)?;
        let (left, at) = (inner.rest(), inner.position());
        if ended == Ended::Cut {
            return Ok(at);
        }
        let after = if left.is_empty() { after } else { left };
        self.no_vmdesc(after, at)?;
        // A damaged description belongs to the stream.
        Ok(match after {
            [vmdesc::ELEMENT, ..] if !self.commands.has_switched() => {
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
        match self.search(start).lengths(bytes, &found.vmdesc) {
            Ok(Lengths::Described(lengths)) => {
                self.sections.set_lengths(lengths);
                Ok(())
            }
            // Other sections among them: footers tell, and are checked against the description.
            Ok(Lengths::Unknown) => Ok(()),
            Err(error) if self.report.rescues(&error) => {
                let reason = error.to_string();
                self.report
                    .assume(start, None, AssumptionKind::Guessed { reason })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Holds the device sections against the description, as far as they were split without it.
    fn check_guesses(&mut self, vmdesc: &VmDesc, start: u64) -> Result<(), LoadError<V::Error>> {
        match self.sections.check_guesses(vmdesc, start) {
            Ok(()) => Ok(()),
            Err(error) if self.report.mode() == Mode::Strict => Err(Error::from(error).into()),
            Err(error) => {
                let (at, section) = (error.at, error.section.clone());
                let reason = error.to_string();
                let kind = AssumptionKind::Guessed { reason };
                self.report.assume(at, section.as_deref(), kind)
            }
        }
    }

    /// After the end of the elements, where there is no description.
    fn no_vmdesc(&mut self, after: &[u8], at: u64) -> Result<(), LoadError<V::Error>> {
        let switched = self.commands.has_switched();
        let may_lack = self.options.vmdesc == VmDescRule::Optional || switched;
        let error = match after {
            [vmdesc::ELEMENT, ..] if !switched => damaged_vmdesc(after, at),
            _ if may_lack => return Ok(()),
            [] => FormatError::truncated(at, VMDESC, vmdesc::HEAD as u64, 0),
            [first, ..] => FormatError::unexpected(at, VMDESC, "06", format!("{first:02x}")),
        };
        if self.report.mode() == Mode::Strict {
            return Err(Error::from(error).into());
        }
        let reason = error.to_string();
        self.report
            .assume(at, None, AssumptionKind::Guessed { reason })
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
            Err(error) if self.report.rescues(&error) => {
                return self.report.cut(source.position(), &error);
            }
            Err(error) => return Err(error.into()),
        };
        match bytes {
            0 => Ok(()),
            bytes => self
                .report
                .assume(end, None, AssumptionKind::Trailing { bytes }),
        }
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
