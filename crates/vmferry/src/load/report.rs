//! What a pass reports: it shows the visitor what is read, counts pages, and keeps what was assumed.
//!
//! All parts of the loader report here, and this one knows none of them.

use super::{
    Assumption, AssumptionKind, ChannelName, Element, ElementKind, Encoding, LoadError, Mode,
    Nesting, Origin, PageCounts, Summary, Visitor,
};
use crate::error::{Error, FormatError};
use crate::wire::section::{ElementType, SectionHeader};

/// The visitor, and what it has been shown so far.
pub(super) struct Report<'a, V> {
    visitor: &'a mut V,
    mode: Mode,
    /// The channel that is being read.
    channel: ChannelName,
    /// The pages of all channels.
    pages: PageCounts,
    /// Holds the assumptions; the pass fills in the rest when it is over.
    summary: Summary,
}

/// What is known of an element at its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct ElementStart {
    offset: u64,
    nesting: Nesting,
    /// The pages that came before it.
    pages: PageCounts,
}

impl ElementStart {
    /// Offset in the stream, in bytes, of its first byte.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }
}

impl<'a, V: Visitor> Report<'a, V> {
    pub(super) fn new(visitor: &'a mut V, mode: Mode) -> Self {
        Self {
            visitor,
            mode,
            channel: ChannelName::Main,
            pages: PageCounts::default(),
            summary: Summary::default(),
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// The channel that is being read.
    #[inline]
    pub(super) fn channel(&self) -> ChannelName {
        self.channel
    }

    /// From now on, another channel is read.
    pub(super) fn set_channel(&mut self, channel: ChannelName) {
        self.channel = channel;
    }

    /// Whether an error does not end the pass.
    pub(super) fn rescues(&self, error: &Error) -> bool {
        self.mode.rescues(error)
    }

    /// Shows the visitor something.
    #[inline]
    pub(super) fn show<T>(
        &mut self,
        show: impl FnOnce(&mut V) -> Result<T, V::Error>,
    ) -> Result<T, LoadError<V::Error>> {
        show(self.visitor).map_err(LoadError::Visitor)
    }

    /// Where the page comes from that is read now.
    #[inline]
    pub(super) fn origin(&self, offset: u64, bytes: u64, encoding: Encoding) -> Origin {
        Origin {
            channel: self.channel,
            offset,
            bytes,
            encoding,
        }
    }

    /// Counts pages.
    #[inline]
    pub(super) fn count(&mut self, pages: PageCounts) {
        self.pages += pages;
    }

    /// The pages that came so far.
    pub(super) fn pages(&self) -> PageCounts {
        self.pages
    }

    /// The visitor and the count, for pages that other channels show and count themselves.
    pub(super) fn visitor_and_pages(&mut self) -> (&mut V, &mut PageCounts) {
        (self.visitor, &mut self.pages)
    }

    /// Goes on although something is wrong, if the mode allows it.
    pub(super) fn accept(&mut self, error: FormatError) -> Result<(), LoadError<V::Error>> {
        if self.mode == Mode::Strict {
            return Err(Error::from(error).into());
        }
        let (at, section) = (error.at, error.section.clone());
        let reason = error.to_string();
        self.assume(at, section.as_deref(), AssumptionKind::Accepted { reason })
    }

    /// Notes that something means nothing here.
    pub(super) fn ignore(
        &mut self,
        at: u64,
        what: impl Into<String>,
    ) -> Result<(), LoadError<V::Error>> {
        let what = what.into();
        self.assume(at, None, AssumptionKind::Ignored { what })
    }

    /// Notes that nothing more can be read from `at` on.
    pub(super) fn cut(&mut self, at: u64, error: &Error) -> Result<(), LoadError<V::Error>> {
        let reason = error.to_string();
        self.assume(at, None, AssumptionKind::Cut { reason })
    }

    /// Notes an assumption.
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

    /// An element begins at `offset`.
    pub(super) fn begin(&self, offset: u64, nesting: Nesting) -> ElementStart {
        ElementStart {
            offset,
            nesting,
            pages: self.pages,
        }
    }

    /// Shows an element that ends before offset `end`.
    pub(super) fn element(
        &mut self,
        start: ElementStart,
        end: u64,
        kind: ElementKind<'_>,
    ) -> Result<(), LoadError<V::Error>> {
        let element = Element {
            kind,
            offset: start.offset,
            length: end.saturating_sub(start.offset),
            nesting: start.nesting,
            pages: self.pages - start.pages,
        };
        self.show(|visitor| visitor.element(&element))
    }

    /// Shows an element that is a section, or a piece of one.
    pub(super) fn section(
        &mut self,
        start: ElementStart,
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
        self.element(start, end, kind)
    }

    /// The pages and assumptions, in a summary that lacks everything else.
    pub(super) fn into_summary(self) -> Summary {
        Summary {
            pages: self.pages.pages,
            zero_pages: self.pages.zero,
            xbzrle_pages: self.pages.xbzrle,
            compressed_pages: self.pages.compressed,
            multifd_pages: self.pages.multifd,
            ..self.summary
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::test_log::Log;
    use crate::wire::limits;

    fn wrong() -> FormatError {
        FormatError::unexpected(7, "a thing", "this", "that").in_section("ram")
    }

    #[test]
    fn what_is_wrong_ends_a_strict_pass_and_is_an_assumption_of_a_rescue() {
        let mut log = Log::default();
        let refused = Report::new(&mut log, Mode::Strict).accept(wrong());
        assert!(matches!(refused, Err(LoadError::Read(Error::Format(error))) if error == wrong()));
        assert_eq!(log.events, [""; 0]);

        let mut report = Report::new(&mut log, Mode::Rescue);
        report.accept(wrong()).unwrap();
        let [assumption] = &report.into_summary().assumptions[..] else {
            panic!("one assumption expected");
        };
        assert_eq!(
            (assumption.at, assumption.section.as_deref()),
            (7, Some("ram"))
        );
        assert_eq!(log.events, [format!("assumption {assumption}")]);
    }

    #[test]
    fn assumptions_name_the_channel_and_are_kept_up_to_a_limit() {
        let mut log = Log::default();
        let mut report = Report::new(&mut log, Mode::Strict);
        report.set_channel(ChannelName::Preempt);
        for at in 0..limits::ASSUMPTIONS as u64 + 3 {
            report.ignore(at, "a thing").unwrap();
        }
        let summary = report.into_summary();
        assert_eq!(summary.assumptions.len(), limits::ASSUMPTIONS);
        assert_eq!(summary.more_assumptions, 3);
        assert_eq!(summary.assumptions[0].channel, ChannelName::Preempt);
        // The visitor sees each of them.
        assert_eq!(log.events.len(), limits::ASSUMPTIONS + 3);
    }

    #[test]
    fn an_element_has_the_pages_that_came_since_it_began() {
        let one = PageCounts {
            pages: 1,
            ..PageCounts::default()
        };
        let mut log = Log::default();
        let mut report = Report::new(&mut log, Mode::Strict);
        report.count(one);
        let start = report.begin(10, Nesting::Package);
        report.count(one);
        report.count(one);
        report.element(start, 25, ElementKind::Eof).unwrap();
        assert_eq!(report.into_summary().pages, 3);
        assert_eq!(
            log.events,
            ["element Eof at 10 of 15 bytes, Package, 2 pages"]
        );
    }

    #[test]
    fn what_the_visitor_refuses_ends_the_pass_but_is_counted() {
        let mut log = Log::refusing("assumption");
        let mut report = Report::new(&mut log, Mode::Rescue);
        let refused = report.accept(wrong());
        assert!(matches!(refused, Err(LoadError::Visitor(_))));
        assert_eq!(report.into_summary().assumptions.len(), 1);
    }
}
