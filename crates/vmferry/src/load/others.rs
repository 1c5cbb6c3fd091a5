//! Iterable sections other than `ram`.

use super::pass::Pass;
use super::{AssumptionKind, LoadError, Mode, OtherSections, Visitor};
use crate::error::{Error, FormatError};
use crate::wire::dirty_bitmap::{self, Chunk, Content};
use crate::wire::other_sections::{OtherSection, PieceEnd};
use crate::wire::section::SectionHeader;
use crate::wire::{Source, limits};

/// What the chunk before was about.
#[derive(Debug, Default)]
pub(super) struct Names {
    node: Option<String>,
    bitmap: Option<String>,
}

impl<V: Visitor> Pass<'_, V> {
    /// Reads, or passes over, a piece of a section, with its footer.
    pub(super) fn other_section<T: Source>(
        &mut self,
        source: &mut T,
        header: &SectionHeader,
    ) -> Result<(), LoadError<V::Error>> {
        let at = source.position();
        let (idstr, instance) = (&header.idstr, header.instance_id);
        let is_bitmap = idstr == dirty_bitmap::IDSTR;
        let known = OtherSection::find(idstr);
        let is_read = self.report.mode() == Mode::Rescue
            || self.other_sections == OtherSections::PassOver && (is_bitmap || known.is_some());
        let what = format!("the iterable section '{idstr}' (instance {instance})");
        if !is_read {
            return Err(Error::from(FormatError::unsupported(at, what)).into());
        }
        if self.others.len() < limits::ITERABLES && self.others.insert(idstr.clone()) {
            self.summary.other_sections.push(idstr.clone());
        }
        if is_bitmap {
            self.dirty_bitmaps(source)?;
            return self
                .sections
                .footer(&mut self.report, source, header.section_id, idstr);
        }
        let end = known.map_or(Ok(PieceEnd::Footer), |known| known.skip(source))?;
        if end == PieceEnd::Footer {
            let mode = self.report.mode();
            self.sections
                .skip_to_footer(source, header.section_id, mode)?;
        }
        let bytes = source.position().saturating_sub(at);
        let kind = match known {
            Some(_) => AssumptionKind::NotRead { bytes, what },
            None => AssumptionKind::Skipped {
                bytes,
                reason: format!("{what} is not known"),
            },
        };
        self.report.assume(at, Some(idstr), kind)?;
        self.sections
            .footer(&mut self.report, source, header.section_id, idstr)
    }

    fn dirty_bitmaps<T: Source>(&mut self, source: &mut T) -> Result<(), LoadError<V::Error>> {
        loop {
            let at = source.position();
            let chunk = Chunk::decode(source)?;
            let names = &mut self.bitmap_names;
            names.node = chunk.node.or_else(|| names.node.take());
            names.bitmap = chunk.bitmap.or_else(|| names.bitmap.take());
            if chunk.content == Content::Eos {
                return Ok(());
            }
            let (Some(node), Some(bitmap)) = (&names.node, &names.bitmap) else {
                let what = "a chunk of a dirty bitmap";
                let expected = "the names of its node and bitmap, or of those before";
                return Err(
                    Error::from(FormatError::unexpected(at, what, expected, "none")).into(),
                );
            };
            self.report
                .show(|visitor| visitor.dirty_bitmap(node, bitmap, &chunk.content))?;
        }
    }
}
