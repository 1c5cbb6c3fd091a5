//! A whole machine in memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::ControlFlow;

use super::{Origin, Visitor};
use crate::machine::{Configuration, DeviceSection, MachineState, SavedState};
use crate::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlocks, is_zero};
use crate::wire::xbzrle;

/// A machine that was loaded into memory, all of it: for small machines, examples and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Everything but the RAM.
    pub state: MachineState,
    page_size: PageSize,
    blocks: RamBlocks,
    /// Pages that have come; `None` for zeros.
    pages: HashMap<(BlockIndex, PageIndex), Option<Box<[u8]>>>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            state: MachineState::default(),
            page_size: PageSize::X86,
            blocks: RamBlocks::default(),
            pages: HashMap::new(),
        }
    }
}

impl Image {
    /// Puts a page there, over what was.
    pub fn put(&mut self, block: BlockIndex, page: PageIndex, content: Page<'_>) {
        let content = match content {
            Page::Data(data) if !is_zero(data) => Some(data.into()),
            Page::Data(_) | Page::Zero => None,
        };
        self.pages.insert((block, page), content);
    }
}

impl Visitor for Image {
    type Error = Infallible;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Infallible> {
        self.state.configuration = Some(configuration.clone());
        Ok(())
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Infallible> {
        self.blocks = blocks.clone();
        self.page_size = page_size;
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        self.put(block, page, content);
        Ok(())
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        let before = self.pages.remove(&(block, page)).flatten();
        let mut data = before.unwrap_or_else(|| vec![0; self.page_size.bytes()].into());
        // They were checked.
        let _ = xbzrle::decode(differences, &mut data);
        self.put(block, page, Page::Data(&data));
        Ok(())
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Infallible> {
        self.state.devices.push(section.into());
        Ok(())
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Infallible> {
        self.state.vmdesc = Some(json.to_vec());
        Ok(())
    }
}

impl PageSource for Image {
    type Error = Infallible;

    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn blocks(&self) -> &RamBlocks {
        &self.blocks
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, Infallible> {
        Ok(match self.pages.get(&(block, page)) {
            None => PageKind::Absent,
            Some(None) => PageKind::Zero,
            Some(Some(data)) => {
                out.copy_from_slice(data);
                PageKind::Data
            }
        })
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        for (index, block) in self.blocks.iter() {
            for page in (0..block.pages(self.page_size)).map(PageIndex) {
                let Some(content) = self.pages.get(&(index, page)) else {
                    continue;
                };
                if !wanted(index, page) {
                    continue;
                }
                let content = content.as_deref().map_or(Page::Zero, Page::Data);
                if visit(index, page, content).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl SavedState for Image {
    fn state(&self) -> Result<MachineState, Self::Error> {
        Ok(self.state.clone())
    }

    fn kept_in(&self) -> String {
        "memory".to_owned()
    }
}
