//! What a visitor is told besides what is in a stream: its elements, and what was assumed.

use super::pass::{Level, Pass};
use super::{
    Assumption, AssumptionKind, Element, ElementKind, LoadError, Mode, Nesting, PageCounts, Visitor,
};
use crate::error::{Error, FormatError};
use crate::stream::ErrorKind;
use crate::wire::section::{ElementType, SectionHeader};

/// What is known of an element at its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begin {
    pub(super) offset: u64,
    pub(super) level: Level,
    pages: PageCounts,
}

impl<V: Visitor> Pass<'_, V> {
    /// Whether something that is wrong does not end the pass.
    pub(super) fn rescues(&self, error: &Error) -> bool {
        let ended_by_us = match error {
            Error::Closed => true,
            Error::Stream(error) => error.kind() == ErrorKind::Aborted,
            Error::Format(_) | Error::Damaged(_) => false,
        };
        self.mode == Mode::Rescue && !ended_by_us
    }

    /// Reads on where something is wrong, if that is allowed.
    pub(super) fn accept(&mut self, error: FormatError) -> Result<(), LoadError<V::Error>> {
        if self.mode == Mode::Strict {
            return Err(Error::from(error).into());
        }
        let (at, section) = (error.at, error.section.clone());
        let reason = error.to_string();
        self.assume(at, section.as_deref(), AssumptionKind::Accepted { reason })
    }

    /// Tells of an assumption.
    pub(super) fn assume(
        &mut self,
        at: u64,
        section: Option<&str>,
        kind: AssumptionKind,
    ) -> Result<(), LoadError<V::Error>> {
        let assumption = Assumption {
            channel: self.channel,
            at,
            section: section.map(Into::into),
            kind,
        };
        let shown = self.visitor.assumption(&assumption);
        self.summary.add_assumption(assumption);
        shown.map_err(LoadError::Visitor)
    }

    pub(super) fn begin(&self, offset: u64, level: Level) -> Begin {
        Begin {
            offset,
            level,
            pages: PageCounts::from(&self.summary),
        }
    }

    /// Shows an element that began there and ends at `end`.
    pub(super) fn show(
        &mut self,
        begin: Begin,
        end: u64,
        kind: ElementKind<'_>,
    ) -> Result<(), LoadError<V::Error>> {
        let element = Element {
            kind,
            offset: begin.offset,
            length: end.saturating_sub(begin.offset),
            nesting: match begin.level {
                Level::Stream | Level::Tail => Nesting::Stream,
                Level::Package => Nesting::Package,
            },
            pages: PageCounts::from(&self.summary) - begin.pages,
        };
        self.visitor.element(&element).map_err(LoadError::Visitor)
    }

    pub(super) fn show_section(
        &mut self,
        begin: Begin,
        end: u64,
        element: ElementType,
        header: &SectionHeader,
    ) -> Result<(), LoadError<V::Error>> {
        let kind = ElementKind::Section {
            element,
            section_id: header.section_id,
            idstr: &header.idstr,
            instance_id: header.instance_id,
            version_id: header.version_id,
        };
        self.show(begin, end, kind)
    }

    /// Shows the description, which reaches to the end.
    pub(super) fn show_vmdesc(&mut self, offset: u64, end: u64) -> Result<(), LoadError<V::Error>> {
        let begin = self.begin(offset, Level::Tail);
        self.show(begin, end, ElementKind::VmDesc)
    }
}
