//! What stands behind the pages: device sections, the end, and the description.

use super::devices::{self, Lengths};
use super::pass::{Ended, Level, Pass};
use super::{AssumptionKind, LoadError, Mode, Visitor, VmDescRule};
use crate::error::{Error, FormatError, FormatErrorKind};
use crate::wire::vmdesc::{self, VmDesc};
use crate::wire::{SliceSource, Source, limits};

const VMDESC: &str = "the description of the devices (vmdesc)";

/// A description that was found.
struct Found {
    /// Where its element begins in the tail, and where it ends.
    element: usize,
    end: usize,
    vmdesc: VmDesc,
}

impl<V: Visitor> Pass<'_, V> {
    /// Reads everything behind the pages, up to the end of the stream.
    pub(super) fn tail<T: Source>(&mut self, source: &mut T) -> Result<(), LoadError<V::Error>> {
        let start = source.position();
        let (bytes, rest) = read_rest(source, start);
        if let Err(error) = rest {
            if !self.rescues(&error) {
                return Err(error.into());
            }
            let reason = error.to_string();
            self.assume(
                start + bytes.len() as u64,
                None,
                AssumptionKind::Cut { reason },
            )?;
        }
        let found = self.find_vmdesc(&bytes, start)?;
        let elements = found.as_ref().map_or(bytes.len(), |found| found.element);
        if let Some(found) = &found {
            self.describe(bytes.get(..elements).unwrap_or_default(), start, found)?;
        }
        let mut inner = SliceSource::at(bytes.get(..elements).unwrap_or_default(), start);
        let ended = self.elements(&mut inner, Level::Tail)?;
        let behind = inner.rest();
        let Some(found) = found else {
            return match ended {
                Ended::Cut => Ok(()),
                _ => self.no_vmdesc(behind, inner.position()),
            };
        };
        if !behind.is_empty() {
            let found = format!("{} bytes more", behind.len());
            let expected = "the end of the elements before the description";
            let what = "the devices against their description (vmdesc)";
            self.accept(FormatError::unexpected(
                inner.position(),
                what,
                expected,
                found,
            ))?;
        }
        self.check_guesses(&found.vmdesc, start)?;
        let json = bytes.get(found.element + vmdesc::HEAD..found.end);
        self.visitor
            .vmdesc(json.unwrap_or_default())
            .map_err(LoadError::Visitor)?;
        let end = start + found.end as u64;
        self.show_vmdesc(start + found.element as u64, end)?;
        self.nothing_behind(bytes.len() - found.end, end, VMDESC)
    }

    fn find_vmdesc(
        &mut self,
        bytes: &[u8],
        start: u64,
    ) -> Result<Option<Found>, LoadError<V::Error>> {
        let parsed = |element: usize, end: usize| {
            let json = bytes.get(element + vmdesc::HEAD..end).unwrap_or_default();
            let vmdesc = VmDesc::parse(json, start + (element + vmdesc::HEAD) as u64)?;
            Ok::<_, Error>(Found {
                element,
                end,
                vmdesc,
            })
        };
        match vmdesc::locate(bytes).map(|element| parsed(element, bytes.len())) {
            Some(Ok(found)) => Ok(Some(found)),
            Some(Err(error)) if !self.rescues(&error) => Err(error.into()),
            // It may stand further in front, or be damaged.
            _ if self.mode == Mode::Rescue && !devices::reach_the_end(bytes, start) => {
                let mut all = vmdesc::candidates(bytes);
                Ok(all.find_map(|range| parsed(range.start, range.end).ok()))
            }
            _ => Ok(None),
        }
    }

    /// Takes the lengths of the sections from their description.
    fn describe(
        &mut self,
        bytes: &[u8],
        start: u64,
        found: &Found,
    ) -> Result<(), LoadError<V::Error>> {
        let described = found.vmdesc.devices.get(self.guesses.len()..);
        let described = described.unwrap_or_default();
        match devices::lengths(bytes, start, described, self.footers, self.mode) {
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

    /// Behind the end of the elements, where there is no description.
    fn no_vmdesc(&mut self, behind: &[u8], at: u64) -> Result<(), LoadError<V::Error>> {
        let may_lack = self.vmdesc == VmDescRule::Optional || self.postcopy.has_switched();
        let error = match behind {
            [] if may_lack => return Ok(()),
            [] => FormatError::truncated(at, VMDESC, vmdesc::HEAD as u64, 0),
            [vmdesc::ELEMENT, ..] if !self.postcopy.has_switched() => damaged_vmdesc(behind, at),
            _ => return self.nothing_behind(behind.len(), at, "the end of the stream"),
        };
        if self.mode == Mode::Strict {
            return Err(Error::from(error).into());
        }
        let reason = error.to_string();
        self.assume(at, None, AssumptionKind::Guessed { reason })
    }

    fn nothing_behind(
        &mut self,
        left: usize,
        at: u64,
        what: &'static str,
    ) -> Result<(), LoadError<V::Error>> {
        let bytes = left as u64;
        match self.mode {
            _ if left == 0 => Ok(()),
            Mode::Strict => {
                let kind = FormatErrorKind::Trailing { what, left: bytes };
                Err(Error::from(FormatError::new(at, kind)).into())
            }
            Mode::Rescue => self.assume(at, None, AssumptionKind::Trailing { bytes }),
        }
    }
}

/// What is wrong with a description that was not found by its length.
fn damaged_vmdesc(bytes: &[u8], at: u64) -> FormatError {
    let length = bytes.get(1..).and_then(|length| length.first_chunk::<4>());
    let wanted = length.map_or(0, |length| u64::from(u32::from_be_bytes(*length)));
    let wanted = wanted + vmdesc::HEAD as u64;
    let got = bytes.len() as u64;
    if got < wanted {
        FormatError::truncated(at, VMDESC, wanted, got)
    } else if got == wanted {
        FormatError::unexpected(at, VMDESC, "a JSON text", "something else")
    } else {
        let left = got - wanted;
        FormatError::new(
            at + wanted,
            FormatErrorKind::Trailing { what: VMDESC, left },
        )
    }
}

/// Everything up to the end of the stream, or to where it cannot be read or is too long.
fn read_rest(source: &mut impl Source, start: u64) -> (Vec<u8>, Result<(), Error>) {
    const LIMIT: usize = limits::DEVICE_STATE + limits::VMDESC;
    const WHAT: &str = "the state of all devices";
    let mut rest = Vec::new();
    loop {
        let more = match source.peek_some() {
            Ok([]) => return (rest, Ok(())),
            Ok(more) => more.len(),
            Err(error) => return (rest, Err(error)),
        };
        if rest.len() + more > LIMIT {
            let len = (rest.len() + more) as u64;
            let error = FormatError::too_long(start, WHAT, len, LIMIT as u64);
            return (rest, Err(error.into()));
        }
        match source.take(more, WHAT) {
            Ok(piece) => rest.extend_from_slice(piece),
            Err(error) => return (rest, Err(error)),
        }
        if rest.last() == Some(&b'}') && vmdesc::locate(&rest).is_some() {
            source.expect_end();
        }
    }
}
