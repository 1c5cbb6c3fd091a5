//! Finding the end of a stream whose device sections do not say where they end.
//!
//! The description comes after the last device. Which of several texts is the description, a walk along the devices
//! shows: their names, lengths and footers lead from the first section exactly to it. Bytes are looked at as they
//! come, each a few times at most.

use super::Mode;
use super::sections::{Lengths, Mark, Sections, begins_section, marks};
use super::source::Source;
use crate::error::{Error, FormatError};
use crate::wire::section::{self, ElementType, FOOTER_LEN, SectionHeader};
use crate::wire::vmdesc::{self, Finder, VmDesc};
use crate::wire::{SliceSource, limits};
use crate::work;

/// A description that was found.
pub(super) struct Found {
    /// Where its element begins in the tail, and where it ends.
    pub(super) element: usize,
    pub(super) end: usize,
    pub(super) vmdesc: VmDesc,
}

/// What was read after the pages.
pub(super) struct Rest {
    pub(super) bytes: Vec<u8>,
    /// The description to which the devices lead: the last one, if there are several.
    pub(super) found: Option<Found>,
    /// Whether it is not the only one, and not at the end of the source either. What a guest writes into a device's
    /// buffer, or what was on the volume before, can look like a description that fits.
    pub(super) is_ambiguous: bool,
    pub(super) stop: Stop,
}

/// Where the elements end.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// After the byte that ends them.
    pub(super) at: usize,
    /// Whether what comes there is what can come after them.
    is_sure: bool,
}

/// Why no more was read.
pub(super) enum Stop {
    /// The source is at its end.
    End,
    /// There is more than the devices and their description may have.
    Limit(Error),
    /// The source cannot be read.
    Failed(Error),
}

/// Looks for the description in what comes after the pages.
#[derive(Clone, Copy)]
pub(super) struct DescriptionSearch<'a> {
    sections: &'a Sections,
    mode: Mode,
    /// Where in the stream the bytes begin that are searched.
    start: u64,
}

impl<'a> DescriptionSearch<'a> {
    pub(super) fn new(sections: &'a Sections, mode: Mode, start: u64) -> Self {
        Self {
            sections,
            mode,
            start,
        }
    }

    /// Reads to the end of the source, or as much as devices and their description may have: only then it is certain
    /// that no other description fits.
    pub(super) fn read_rest(&self, source: &mut impl Source) -> Rest {
        const LIMIT: usize = limits::DEVICE_STATE + limits::VMDESC;
        const WHAT: &str = "the state of all devices";
        let (mut bytes, mut finder) = (Vec::new(), Finder::default());
        let (mut found, mut fitting) = (None::<Found>, 0);
        let stop = loop {
            let there = match source.peek_some() {
                Ok([]) => break Stop::End,
                Ok(there) => there.len(),
                Err(error) => break Stop::Failed(error),
            };
            let more = there.min(LIMIT - bytes.len());
            if more == 0 {
                let (len, limit) = ((LIMIT + there) as u64, LIMIT as u64);
                break Stop::Limit(FormatError::too_long(self.start, WHAT, len, limit).into());
            }
            match source.take(more, WHAT) {
                Ok(piece) => bytes.extend_from_slice(piece),
                Err(error) => break Stop::Failed(error),
            }
            while let Some(next) = self.next_fitting(&mut finder, &bytes) {
                found = Some(next);
                fitting += 1;
            }
            if found.as_ref().is_some_and(|found| found.end == bytes.len()) {
                source.expect_end();
            }
        };
        let is_last = found.as_ref().is_some_and(|found| found.end == bytes.len());
        let is_ambiguous = fitting > 1 && !(is_last && matches!(stop, Stop::End));
        Rest {
            bytes,
            found,
            is_ambiguous,
            stop,
        }
    }

    /// The next description to which the devices lead.
    fn next_fitting(&self, finder: &mut Finder, bytes: &[u8]) -> Option<Found> {
        while let Some(range) = finder.next(bytes) {
            let Ok(found) = parse(bytes, range.start, range.end, self.start) else {
                continue;
            };
            let elements = bytes.get(..found.element).unwrap_or_default();
            let lengths = self.lengths(elements, &found.vmdesc);
            if matches!(lengths, Ok(Lengths::Described(_))) {
                return Some(found);
            }
        }
        None
    }

    /// The lengths of the device sections in `elements`, which are all that come before the description.
    pub(super) fn lengths(&self, elements: &[u8], vmdesc: &VmDesc) -> Result<Lengths, Error> {
        self.sections
            .described_lengths(elements, self.start, vmdesc, self.mode)
    }

    /// A description where the devices lead to none: because it or one of them is damaged, or because there are
    /// sections among them of which it does not tell.
    pub(super) fn find_rejected(&self, bytes: &[u8]) -> Result<Option<Found>, Error> {
        // Where the footers lead to the end of the elements, it is there or nowhere. Unless there is one before to
        // which the devices lead further: then the footers have led into something that comes after the end.
        let ended = self.end_of_elements(bytes);
        let mut finder = Finder::default();
        let mut all = std::iter::from_fn(|| finder.next(bytes));
        let there = ended.and_then(|end| {
            let range = all.find(|range| range.start >= end.at)?;
            (range.start == end.at).then(|| parse(bytes, range.start, range.end, self.start))
        });
        if ended.is_none_or(|end| !end.is_sure || matches!(there, Some(Ok(_)))) {
            let furthest = self.find_furthest(bytes);
            let before = |found: &Found| ended.is_none_or(|end| found.element <= end.at);
            if let Some(found) = furthest.filter(before) {
                return Ok(Some(found));
            }
        }
        if ended.is_some() {
            return match there {
                Some(Err(error)) if !self.mode.rescues(&error) => Err(error),
                there => Ok(there.and_then(Result::ok)),
            };
        }
        // Else one that reaches to the end.
        let last =
            vmdesc::locate(bytes).map(|element| parse(bytes, element, bytes.len(), self.start));
        match last {
            Some(Ok(found)) => return Ok(Some(found)),
            Some(Err(error)) if !self.mode.rescues(&error) => return Err(error),
            _ => {}
        }
        // It may stand further in front, or be damaged.
        if self.mode == Mode::Strict || reach_the_end(bytes, self.start) {
            return Ok(None);
        }
        let mut finder = Finder::default();
        let mut all = std::iter::from_fn(|| finder.next(bytes));
        Ok(all.find_map(|range| parse(bytes, range.start, range.end, self.start).ok()))
    }

    /// The description along which the devices lead furthest, beyond the first of them.
    fn find_furthest(&self, bytes: &[u8]) -> Option<Found> {
        let mut finder = Finder::default();
        let mut furthest = None;
        let mut reached = self.start;
        while let Some(range) = finder.next(bytes) {
            let Ok(found) = parse(bytes, range.start, range.end, self.start) else {
                continue;
            };
            let elements = bytes.get(..found.element).unwrap_or_default();
            let at = match self.lengths(elements, &found.vmdesc) {
                Ok(_) => u64::MAX,
                Err(Error::Format(error)) => error.at,
                Err(_) => continue,
            };
            if at > reached {
                (furthest, reached) = (Some(found), at);
            }
        }
        furthest
    }

    /// Where the elements end, by their footers: after the byte that ends them. `None` where the footers do not
    /// lead there, or anything else than devices is among them.
    pub(super) fn end_of_elements(&self, bytes: &[u8]) -> Option<End> {
        if !self.sections.may_have_footers() {
            return None;
        }
        // A volume is mostly zeros after a stream.
        let padding = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        work::count(bytes.len() - padding);
        let mut source = SliceSource::at(bytes, self.start);
        let mut is_sure = true;
        loop {
            match ElementType::decode(&mut source).ok()? {
                ElementType::Eof => {
                    let at = bytes.len() - source.rest().len();
                    return Some(End { at, is_sure });
                }
                ElementType::Full => {}
                _ => return None,
            }
            let header = SectionHeader::decode(&mut source).ok()?;
            let own = section::footer(header.section_id);
            let rest = source.rest();
            let padding = padding.saturating_sub(bytes.len() - rest.len());
            let is_end = |mark: &Mark<'_>| mark.after.first() == Some(&(ElementType::Eof as u8));
            let is_strong = |mark: &Mark<'_>| {
                let next = mark.at + FOOTER_LEN;
                self.sections.begins_element(mark.after) || is_end(mark) && next + 1 >= padding
            };
            let is_own = |mark: &Mark<'_>| mark.footer == own;
            let strong = marks(rest).find(|mark| is_own(mark) && is_strong(mark));
            let strong = strong.map(|mark| mark.at);
            let before = rest.get(..strong.unwrap_or(rest.len())).unwrap_or_default();
            let end = marks(before).find(|mark| is_own(mark) && is_end(mark));
            // Footers of section 0 are mostly zeros, as much else is, and it is not the last one.
            let end = end.filter(|_| header.section_id != 0).map(|mark| mark.at);
            let at = match end {
                // What looks like nothing that QEMU sends, or like other sections, comes after the end of the stream.
                Some(end) if strong.is_none_or(|at| has_sections(rest.get(end..at))) => {
                    is_sure = false;
                    end
                }
                _ => strong?,
            };
            let len = at + FOOTER_LEN;
            source.take_slice(len, "a device").ok()?;
        }
    }
}

/// Whether the elements, split at their footers, reach exactly to the end of `bytes`: then nothing in them is a
/// description, whatever the state of a device looks like.
fn reach_the_end(bytes: &[u8], start: u64) -> bool {
    let mut source = SliceSource::at(bytes, start);
    for _ in 0..limits::SECTIONS {
        match ElementType::decode(&mut source) {
            Ok(ElementType::Eof) => return source.rest().is_empty(),
            Ok(ElementType::Full) => {}
            _ => return false,
        }
        let Ok(header) = SectionHeader::decode(&mut source) else {
            return false;
        };
        let own = section::footer(header.section_id);
        let ends = |mark: &Mark<'_>| {
            let next = mark.after.first();
            let next = next.and_then(|first| ElementType::from_byte(*first));
            mark.footer == own && matches!(next, Some(ElementType::Full | ElementType::Eof))
        };
        let len = marks(source.rest()).find(ends).map(|mark| mark.at);
        let passed = len.map(|len| source.take_slice(len + FOOTER_LEN, "a device").is_ok());
        if passed != Some(true) {
            return false;
        }
    }
    false
}

/// Whether other sections end in these bytes.
fn has_sections(bytes: Option<&[u8]>) -> bool {
    let mut marks = marks(bytes.unwrap_or_default());
    marks.any(|mark| begins_section(mark.after))
}

fn parse(bytes: &[u8], element: usize, end: usize, start: u64) -> Result<Found, Error> {
    let json = bytes.get(element + vmdesc::HEAD..end).unwrap_or_default();
    let vmdesc = VmDesc::parse(json, start + (element + vmdesc::HEAD) as u64)?;
    Ok(Found {
        element,
        end,
        vmdesc,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::source::Input;
    use crate::load::test_bytes::device;
    use crate::wire::Sink;

    const START: u64 = 100;

    fn element(json: &str) -> Vec<u8> {
        let mut bytes = vec![vmdesc::ELEMENT];
        bytes.put(&u32::try_from(json.len()).unwrap().to_be_bytes());
        bytes.put(json.as_bytes());
        bytes
    }

    /// The description of a timer with a state of `size` bytes.
    fn description(size: usize) -> Vec<u8> {
        element(&format!(
            r#"{{"devices": [{{"name": "timer", "instance_id": 0, "version": 1,
                "fields": [{{"name": "a", "type": "buffer", "size": {size}}}]}}]}}"#
        ))
    }

    fn sections() -> Sections {
        let mut sections = Sections::default();
        sections.expect_footers();
        sections
    }

    /// What `bytes` hold, and where the description is that was found in them.
    fn read(bytes: &[u8]) -> (Rest, Option<(usize, usize)>) {
        let sections = sections();
        let search = DescriptionSearch::new(&sections, Mode::Strict, START);
        let rest = search.read_rest(&mut Input(SliceSource::at(bytes, START)));
        assert_eq!(rest.bytes, bytes);
        let place = rest.found.as_ref().map(|found| (found.element, found.end));
        (rest, place)
    }

    #[test]
    fn the_description_is_the_text_to_which_the_devices_lead() {
        // What a guest writes into a device's buffer can look like one.
        let buffer = description(1);
        let elements = [device(2, "timer", &buffer), vec![0]].concat();
        let bytes = [&elements[..], &description(buffer.len()), b"junk"].concat();
        let (rest, place) = read(&bytes);
        assert_eq!(place, Some((elements.len(), bytes.len() - 4)));
        assert!(!rest.is_ambiguous);
        assert!(matches!(rest.stop, Stop::End));
    }

    #[test]
    fn of_two_that_fit_only_one_at_the_very_end_is_certain() {
        let buffer = [b"abc", &section::footer(2)[..], &[0], &description(3)].concat();
        let elements = [device(2, "timer", &buffer), vec![0]].concat();
        let mut bytes = [&elements[..], &description(buffer.len())].concat();
        let whole = Some((elements.len(), bytes.len()));
        let (rest, place) = read(&bytes);
        assert_eq!((place, rest.is_ambiguous), (whole, false));
        bytes.push(0);
        let (rest, place) = read(&bytes);
        assert_eq!((place, rest.is_ambiguous), (whole, true));
    }

    #[test]
    fn a_description_that_contradicts_the_devices_is_found_where_the_elements_end() {
        let elements = [device(2, "timer", b"abc"), vec![0]].concat();
        let bytes = [&elements[..], &description(4)].concat();
        let (_, place) = read(&bytes);
        assert_eq!(place, None);
        let sections = sections();
        let search = DescriptionSearch::new(&sections, Mode::Strict, START);
        let found = search.find_rejected(&bytes).unwrap().unwrap();
        assert_eq!((found.element, found.end), (elements.len(), bytes.len()));
    }

    #[test]
    fn a_damaged_description_is_an_error_and_nothing_in_a_rescue() {
        let elements = [device(2, "timer", b"abc"), vec![0]].concat();
        let bytes = [elements, element(r#"{"devices": 7}"#)].concat();
        let sections = sections();
        let search = |mode| DescriptionSearch::new(&sections, mode, START);
        assert!(search(Mode::Strict).find_rejected(&bytes).is_err());
        assert!(matches!(
            search(Mode::Rescue).find_rejected(&bytes),
            Ok(None)
        ));
    }

    #[test]
    fn footers_lead_to_the_end_where_nothing_describes_the_devices() {
        let elements = [device(2, "timer", b"abc"), device(3, "cpu", b""), vec![0]].concat();
        let sections = sections();
        let end = |bytes: &[u8]| {
            let search = DescriptionSearch::new(&sections, Mode::Strict, START);
            search
                .end_of_elements(bytes)
                .map(|end| (end.at, end.is_sure))
        };
        assert_eq!(end(&elements), Some((elements.len(), true)));
        // A volume is larger than the stream in it, and may hold what was there before.
        let padded = [&elements[..], &[0; 500]].concat();
        assert_eq!(end(&padded), Some((elements.len(), true)));
        let older = [&elements[..], &[0x55; 500]].concat();
        assert_eq!(end(&older), Some((elements.len(), false)));
        for cut in 0..elements.len() {
            assert_eq!(end(&elements[..cut]), None, "{cut}");
        }
        let start = [&[ElementType::Start as u8], &elements[1..]].concat();
        assert_eq!(end(&start), None);
    }
}
