//! An index while its stream is read.

use super::places::Place;
use super::spool::Spool;
use super::{Index, IndexError};
use crate::error::{Error, FormatError};
use crate::load::{Bitmap, ChannelName, Encoding, MappedPages, Mode, Origin, Visitor};
use crate::machine::{Configuration, DeviceSection};
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, PageSource, RamBlocks, is_zero};
use crate::wire::xbzrle;

/// RAM of one machine: what is kept for each 2 MiB of it, whether its pages have come or not, is 8 bytes.
const RAM: u64 = 1 << 44;

/// What may be kept of pages that are far from each other, besides as many bytes as have come: pages of a
/// real machine are side by side.
const SCATTERED: u64 = 64 << 20;

/// Bytes that a page takes in its channel besides its content, at least: its place, in a record or a packet.
const PAGE_HEAD: u64 = 8;

/// Fills an index with what a stream shows.
pub(super) struct Filling<'a> {
    pub(super) index: &'a mut Index,
    mode: Mode,
    /// What has come of pages, in bytes, at least.
    come: u64,
    /// Room for a page.
    page: Vec<u8>,
}

impl<'a> Filling<'a> {
    pub(super) fn new(index: &'a mut Index, mode: Mode) -> Self {
        Self {
            index,
            mode,
            come: 0,
            page: Vec::new(),
        }
    }

    fn set(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        place: Place,
        origin: Origin,
    ) -> Result<(), IndexError> {
        let places = &mut self.index.places;
        places.set(block, page, place);
        self.come = self.come.saturating_add(PAGE_HEAD + origin.bytes);
        let (len, limit) = (places.bytes(), SCATTERED.saturating_add(self.come));
        if len > limit {
            let what = "the list of pages that are far from each other";
            let error = FormatError::too_long(origin.offset, what, len, limit);
            return Err(IndexError::Read(error.into()));
        }
        Ok(())
    }

    fn spool(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        data: &[u8],
        origin: Origin,
    ) -> Result<(), IndexError> {
        let index = &mut *self.index;
        if index.spool.is_none() {
            let spool = Spool::create(&std::env::temp_dir(), index.page_size.bytes())?;
            index.spool = Some(spool);
        }
        let place = index.places.get(block, page);
        match (&mut index.spool, place) {
            (Some(spool), Place::Spool(slot)) => spool.replace(slot, data),
            (Some(spool), _) => {
                let slot = spool.put(data)?;
                self.set(block, page, Place::Spool(slot), origin)
            }
            (None, _) => Ok(()),
        }
    }
}

impl Visitor for Filling<'_> {
    type Error = IndexError;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), IndexError> {
        self.index.state.configuration = Some(configuration.clone());
        Ok(())
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), IndexError> {
        let (len, limit) = (blocks.total_length(), RAM);
        if len > limit {
            let error = FormatError::too_long(0, "the RAM of all blocks", len, limit);
            return Err(IndexError::Read(Error::from(error)));
        }
        self.index.page_size = page_size;
        self.index.blocks = blocks.clone();
        let pages = blocks.iter().map(|(_, block)| block.pages(page_size));
        self.index.places.set_lengths(pages);
        Ok(())
    }

    #[inline]
    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        origin: Origin,
    ) -> Result<(), IndexError> {
        let as_it_is = matches!(origin.encoding, Encoding::Page | Encoding::MappedRam);
        let stays = self.index.place_of(origin.channel, origin.offset);
        match content {
            Page::Data(data) if !is_zero(data) => match stays.filter(|_| as_it_is) {
                Some(place) => self.set(block, page, place, origin),
                None => self.spool(block, page, data, origin),
            },
            Page::Data(_) | Page::Zero => self.set(block, page, Place::Zero, origin),
        }
    }

    fn mapped_block(
        &mut self,
        block: BlockIndex,
        bitmap: &Bitmap,
        offset: u64,
    ) -> Result<MappedPages, IndexError> {
        // Of a file that may be cut, only those pages count that are there.
        if self.mode == Mode::Rescue {
            return Ok(MappedPages::Show);
        }
        let index = &mut *self.index;
        let (page_size, ram) = (index.page_size, index.blocks.get(block));
        let (pages, length) = ram.map_or((0, 0), |ram| (ram.pages(page_size), ram.used_length));
        let last = index.place_of(ChannelName::Main, offset.saturating_add(length));
        let Some(Place::Channel(channel, _)) = last else {
            return Ok(MappedPages::Show);
        };
        for page in 0..pages {
            let at = offset + (page << page_size.bits());
            let place = match bitmap.has(page) {
                true => Place::Channel(channel, at),
                false => Place::Zero,
            };
            // The bitmap has come with a bit for each of them.
            self.index.places.set(block, PageIndex(page), place);
        }
        Ok(MappedPages::Skip)
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        origin: Origin,
    ) -> Result<(), IndexError> {
        let mut data = std::mem::take(&mut self.page);
        data.clear();
        data.resize(self.index.page_size.bytes(), 0);
        self.index.page(block, page, &mut data)?;
        // They were checked.
        let _ = xbzrle::decode(differences, &mut data);
        let spooled = self.spool(block, page, &data, origin);
        self.page = data;
        spooled
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), IndexError> {
        self.index.state.devices.push(section.into());
        Ok(())
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), IndexError> {
        self.index.state.vmdesc = Some(json.to_vec());
        Ok(())
    }
}
