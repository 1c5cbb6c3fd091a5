//! Iterable sections other than `ram`.

use std::collections::BTreeSet;

use super::report::Report;
use super::sections::Sections;
use super::source::Source;
use super::{AssumptionKind, LoadError, Mode, OtherSections, Visitor};
use crate::error::{Error, FormatError};
use crate::wire::dirty_bitmap::{self, Chunk, Content};
use crate::wire::limits;
use crate::wire::other_sections::{OtherSection, PieceEnd};
use crate::wire::section::SectionHeader;

/// What is done with the sections, and what was seen of them.
pub(super) struct Others {
    rule: OtherSections,
    seen: BTreeSet<String>,
    /// The same, in the order in which they came.
    names: Vec<String>,
    /// Of the chunk of a dirty bitmap before: a chunk may leave them out.
    node: Option<String>,
    bitmap: Option<String>,
}

impl Others {
    pub(super) fn new(rule: OtherSections) -> Self {
        Self {
            rule,
            seen: BTreeSet::new(),
            names: Vec::new(),
            node: None,
            bitmap: None,
        }
    }

    /// The names of the sections: the first [`limits::ITERABLES`] of them.
    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }

    /// Reads, or skips, a piece of a section up to its footer.
    pub(super) fn piece<V: Visitor, S: Source>(
        &mut self,
        report: &mut Report<'_, V>,
        sections: &Sections,
        source: &mut S,
        header: &SectionHeader,
    ) -> Result<(), LoadError<V::Error>> {
        let at = source.position();
        let (idstr, instance) = (&header.idstr, header.instance_id);
        let is_bitmap = idstr == dirty_bitmap::IDSTR;
        let known = OtherSection::find(idstr);
        let is_read = report.mode() == Mode::Rescue
            || self.rule == OtherSections::PassOver && (is_bitmap || known.is_some());
        let what = format!("the iterable section '{idstr}' (instance {instance})");
        if !is_read {
            return Err(Error::from(FormatError::unsupported(at, what)).into());
        }
        if self.names.len() < limits::ITERABLES && self.seen.insert(idstr.clone()) {
            self.names.push(idstr.clone());
        }
        if is_bitmap {
            return self.dirty_bitmaps(report, source);
        }
        let end = known.map_or(Ok(PieceEnd::Footer), |known| known.skip(source))?;
        if end == PieceEnd::Footer {
            sections.skip_to_footer(source, header.section_id, report.mode())?;
        }
        let bytes = source.position().saturating_sub(at);
        let kind = match known {
            Some(_) => AssumptionKind::NotRead { bytes, what },
            None => AssumptionKind::Skipped {
                bytes,
                reason: format!("{what} is not known"),
            },
        };
        report.assume(at, Some(idstr), kind)
    }

    fn dirty_bitmaps<V: Visitor, S: Source>(
        &mut self,
        report: &mut Report<'_, V>,
        source: &mut S,
    ) -> Result<(), LoadError<V::Error>> {
        loop {
            let at = source.position();
            let chunk = Chunk::decode(source)?;
            self.node = chunk.node.or_else(|| self.node.take());
            self.bitmap = chunk.bitmap.or_else(|| self.bitmap.take());
            if chunk.content == Content::Eos {
                return Ok(());
            }
            let (Some(node), Some(bitmap)) = (&self.node, &self.bitmap) else {
                let what = "a chunk of a dirty bitmap";
                let expected = "the names of its node and bitmap, or of those before";
                return Err(
                    Error::from(FormatError::unexpected(at, what, expected, "none")).into(),
                );
            };
            report.show(|visitor| visitor.dirty_bitmap(node, bitmap, &chunk.content))?;
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::source::Input;
    use crate::load::test_log::Log;
    use crate::wire::{Sink, SliceSource};

    fn header(idstr: &str) -> SectionHeader {
        SectionHeader {
            section_id: 5,
            idstr: idstr.into(),
            instance_id: 0,
            version_id: 1,
        }
    }

    struct Reader {
        others: Others,
        mode: Mode,
        log: Log,
    }

    impl Reader {
        fn new(rule: OtherSections, mode: Mode) -> Self {
            Self {
                others: Others::new(rule),
                mode,
                log: Log::default(),
            }
        }

        /// Reads a piece, and returns how much of `bytes` comes after it.
        fn piece(&mut self, idstr: &str, bytes: &[u8]) -> Result<usize, String> {
            let mut source = Input(SliceSource::at(bytes, 100));
            let mut report = Report::new(&mut self.log, self.mode);
            let sections = Sections::default();
            let (others, header) = (&mut self.others, header(idstr));
            let read = others.piece(&mut report, &sections, &mut source, &header);
            read.map_err(|error| error.to_string())?;
            Ok(source.rest().len())
        }
    }

    fn chunk(node: Option<&str>, bitmap: Option<&str>, content: Content) -> Vec<u8> {
        let mut bytes = Vec::new();
        let chunk = Chunk {
            node: node.map(Into::into),
            bitmap: bitmap.map(Into::into),
            content,
        };
        chunk.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_section_is_refused_by_its_name_unless_it_may_be_passed_over() {
        let mut reader = Reader::new(OtherSections::Refuse, Mode::Strict);
        for idstr in ["spapr/htab", "dirty-bitmap", "block"] {
            let error = reader.piece(idstr, b"\0\0\0\x18\x7e").unwrap_err();
            let says = format!("the iterable section '{idstr}' (instance 0) is not supported");
            assert!(error.contains(&says), "{error}");
        }
        assert_eq!(reader.others.into_names(), [""; 0]);

        let mut reader = Reader::new(OtherSections::PassOver, Mode::Strict);
        assert_eq!(reader.piece("spapr/htab", b"\0\0\0\x18\x7e"), Ok(1));
        assert_eq!(reader.piece("spapr/htab", b"\0\0\0\x18\x7e"), Ok(1));
        assert!(reader.piece("block", b"\x7e\0\0\0\x05").is_err());
        assert!(reader.log.events[0].contains("is not read: 4 bytes, at offset 0x64"));
        assert_eq!(reader.others.into_names(), ["spapr/htab"]);
    }

    #[test]
    fn a_rescue_passes_over_what_it_does_not_know_up_to_the_footer() {
        let mut reader = Reader::new(OtherSections::Refuse, Mode::Rescue);
        let left = reader.piece("block", b"payload\x7e\0\0\0\x05\0");
        assert_eq!(left, Ok(6));
        let [note] = &reader.log.events[..] else {
            panic!("one note expected");
        };
        assert!(note.contains("7 bytes were skipped"), "{note}");
        assert!(note.contains("is not known"), "{note}");
    }

    #[test]
    fn a_chunk_of_a_bitmap_is_about_the_one_before_unless_it_names_another() {
        let mut reader = Reader::new(OtherSections::PassOver, Mode::Strict);
        let mut bytes = chunk(Some("n0"), Some("bm0"), Content::Complete);
        bytes.put(&chunk(None, Some("bm1"), Content::Complete));
        bytes.put(&chunk(None, None, Content::Eos));
        assert_eq!(reader.piece("dirty-bitmap", &bytes), Ok(0));
        // Also in the next piece.
        let mut next = chunk(None, None, Content::Complete);
        next.put(&chunk(None, None, Content::Eos));
        assert_eq!(reader.piece("dirty-bitmap", &next), Ok(0));
        let expected = ["n0/bm0", "n0/bm1", "n0/bm1"].map(|name| format!("bitmap {name} Complete"));
        assert_eq!(reader.log.events, expected);

        let mut reader = Reader::new(OtherSections::PassOver, Mode::Strict);
        let error = reader.piece("dirty-bitmap", &next).unwrap_err();
        assert!(
            error.contains("the names of its node and bitmap"),
            "{error}"
        );
    }
}
