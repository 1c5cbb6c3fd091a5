//! A visitor that writes down what it is shown, for the tests of the loader's parts.

use super::{Assumption, Bitmap, Element, MappedPages, Origin, Visitor};
use crate::machine::{Configuration, DeviceSection};
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use crate::wire::dirty_bitmap::Content;

/// One line for each thing that was shown.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) events: Vec<String>,
    /// Refuses what has a line that begins like this.
    refuses: Option<&'static str>,
    /// Whether the pages of mapped-ram blocks are to be skipped.
    pub(super) skips_mapped_pages: bool,
}

/// The visitor has refused something.
#[derive(Debug)]
pub(super) struct Refused;

impl Log {
    pub(super) fn refusing(what: &'static str) -> Self {
        Self {
            refuses: Some(what),
            ..Self::default()
        }
    }

    fn add(&mut self, event: String) -> Result<(), Refused> {
        let refused = self.refuses.is_some_and(|what| event.starts_with(what));
        self.events.push(event);
        match refused {
            true => Err(Refused),
            false => Ok(()),
        }
    }
}

impl Visitor for Log {
    type Error = Refused;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Refused> {
        self.add(format!("configuration {}", configuration.machine))
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, _: PageSize) -> Result<(), Refused> {
        let names: Vec<_> = blocks.iter().map(|(_, block)| &block.idstr[..]).collect();
        self.add(format!("blocks {}", names.join(" ")))
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        origin: Origin,
    ) -> Result<(), Refused> {
        let content = match content {
            Page::Zero => "zeros".to_owned(),
            Page::Data(data) => format!("{:02x} x {}", data[0], data.len()),
        };
        let Origin {
            channel,
            offset,
            encoding,
            ..
        } = origin;
        self.add(format!(
            "page {}:{} {content}, {encoding:?} at {offset} of {channel:?}",
            block.0, page.0
        ))
    }

    fn mapped_block(
        &mut self,
        block: BlockIndex,
        _: &Bitmap,
        offset: u64,
    ) -> Result<MappedPages, Refused> {
        self.add(format!("mapped block {} at {offset}", block.0))?;
        Ok(match self.skips_mapped_pages {
            true => MappedPages::Skip,
            false => MappedPages::Show,
        })
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        _: Origin,
    ) -> Result<(), Refused> {
        let (block, page) = (block.0, page.0);
        self.add(format!("differences {block}:{page} {differences:02x?}"))
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Refused> {
        let DeviceSection {
            idstr,
            phase,
            split,
            payload,
            ..
        } = section;
        self.add(format!("device {idstr} {phase:?} {split:?} {payload:02x?}"))
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Refused> {
        self.add(format!("vmdesc {}", String::from_utf8_lossy(json)))
    }

    fn dirty_bitmap(&mut self, node: &str, bitmap: &str, content: &Content) -> Result<(), Refused> {
        self.add(format!("bitmap {node}/{bitmap} {content:?}"))
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), Refused> {
        let kind = match element.kind {
            super::ElementKind::Section { element, idstr, .. } => format!("{element:?} {idstr}"),
            kind => format!("{kind:?}"),
        };
        let Element {
            offset,
            length,
            nesting,
            pages,
            ..
        } = element;
        self.add(format!(
            "element {kind} at {offset} of {length} bytes, {nesting:?}, {} pages",
            pages.pages
        ))
    }

    fn assumption(&mut self, assumption: &Assumption) -> Result<(), Refused> {
        self.add(format!("assumption {assumption}"))
    }
}
