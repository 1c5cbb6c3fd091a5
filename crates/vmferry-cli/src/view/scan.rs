//! One pass over a stream that keeps everything but the pages, and counts those.
//!
//! What is kept does not grow with the machine's memory, but for a bit for each page.

use std::convert::Infallible;

use vmferry::load::{
    Assumption, Bitmap, ChannelName, Element, Encoding, MappedPages, Origin, Visitor,
};
use vmferry::machine::{Configuration, DeviceSection, MachineState, Split};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks, is_zero};

use super::listing::Listing;
use super::seen::Seen;

/// What a pass has seen so far.
pub struct Scan<'p> {
    /// Everything but the RAM.
    pub state: MachineState,
    /// Where each device section was, in the order of `state.devices`.
    pub places: Vec<SectionPlace>,
    /// The size of a page.
    pub page_size: PageSize,
    /// The RAM blocks, in stream order.
    pub blocks: Vec<BlockPages>,
    /// The same, as the library has them.
    pub table: RamBlocks,
    /// The elements of the stream.
    pub listing: Listing,
    /// What was assumed: the first of it, and how much more there was.
    pub assumptions: (Vec<Assumption>, u64),
    mapped: MappedPages,
    seen: Seen,
    progress: &'p mut dyn FnMut(u64),
    records: u64,
    /// How far each channel was read.
    offsets: Vec<(ChannelName, u64)>,
}

/// Where a device section was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionPlace {
    /// Offset in the stream of its first byte.
    pub offset: u64,
    /// How its end was found.
    pub split: Split,
}

/// A RAM block, and what came of it.
#[derive(Debug, Default)]
pub struct BlockPages {
    /// Its name.
    pub idstr: String,
    /// Its length in bytes.
    pub used_length: u64,
    /// Page records.
    pub records: u64,
    /// Records of pages that are zero.
    pub zero: u64,
    /// Records by their form, with the bytes of their content.
    pub encodings: Vec<(Encoding, Share)>,
}

/// Records of one form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// How many there are.
    pub records: u64,
    /// Bytes of their content.
    pub bytes: u64,
}

/// Assumptions that are kept.
const ASSUMPTIONS: usize = 100;

/// So many records pass between two signs of progress.
const PROGRESS_EVERY: u64 = 4096;

impl<'p> Scan<'p> {
    /// Nothing yet; `progress` is told now and then how many bytes of all channels were read.
    pub fn new(progress: &'p mut dyn FnMut(u64)) -> Self {
        Self {
            state: MachineState::default(),
            places: Vec::new(),
            page_size: PageSize::X86,
            blocks: Vec::new(),
            table: RamBlocks::default(),
            listing: Listing::default(),
            assumptions: (Vec::new(), 0),
            mapped: MappedPages::Show,
            seen: Seen::default(),
            progress,
            records: 0,
            offsets: Vec::new(),
        }
    }

    /// Goes by the bitmaps of a mapped-ram file, and leaves its pages unread.
    #[must_use]
    pub fn skip_mapped_pages(mut self) -> Self {
        self.mapped = MappedPages::Skip;
        self
    }

    fn record(&mut self, block: BlockIndex, page: PageIndex, zero: bool, origin: Origin) {
        self.records += 1;
        if self.records % PROGRESS_EVERY == 0 {
            self.show(origin);
        }
        self.seen.add(block, page);
        if let Some(block) = self.blocks.get_mut(block.0) {
            block.record(zero, origin);
        }
    }

    /// How many pages of a block never came; `None` if too many came to keep count.
    pub fn missing(&self, block: BlockIndex) -> Option<u64> {
        let came = self.distinct(block)?;
        let all = self.blocks.get(block.0)?.pages(self.page_size);
        Some(all.saturating_sub(came))
    }

    fn show(&mut self, origin: Origin) {
        let (channel, offset) = (origin.channel, origin.offset);
        match self.offsets.iter_mut().find(|(name, _)| *name == channel) {
            Some((_, read)) => *read = offset,
            None => self.offsets.push((channel, offset)),
        }
        (self.progress)(self.offsets.iter().map(|(_, read)| read).sum());
    }

    /// How many different pages of a block came; `None` if there were too many to keep count.
    pub fn distinct(&self, block: BlockIndex) -> Option<u64> {
        self.seen.count(block)
    }
}

impl BlockPages {
    /// How many pages it has.
    pub fn pages(&self, size: PageSize) -> u64 {
        self.used_length / size.bytes() as u64
    }

    fn record(&mut self, zero: bool, origin: Origin) {
        self.records += 1;
        self.zero += u64::from(zero);
        let known = self
            .encodings
            .iter()
            .position(|(e, _)| *e == origin.encoding);
        let at = known.unwrap_or_else(|| {
            self.encodings.push((origin.encoding, Share::default()));
            self.encodings.len() - 1
        });
        let share = &mut self.encodings[at].1;
        share.records += 1;
        share.bytes += origin.bytes;
    }
}

/// A form in which pages come, in the words of results.
pub fn encoding_name(encoding: Encoding) -> String {
    match encoding {
        Encoding::Page => "page".into(),
        Encoding::Zero => "zero".into(),
        Encoding::Xbzrle => "xbzrle".into(),
        Encoding::CompressPage => "compressed".into(),
        Encoding::MappedRam => "mapped-ram".into(),
        Encoding::MultifdZlib => "multifd-zlib".into(),
        Encoding::MultifdZstd => "multifd-zstd".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

impl Visitor for Scan<'_> {
    type Error = Infallible;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Infallible> {
        self.state.configuration = Some(configuration.clone());
        Ok(())
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Infallible> {
        self.page_size = page_size;
        self.table = blocks.clone();
        for (index, block) in blocks.iter() {
            if index.0 == self.blocks.len() {
                self.blocks.push(BlockPages::default());
            }
            self.blocks[index.0].idstr.clone_from(&block.idstr);
            self.blocks[index.0].used_length = block.used_length;
        }
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        origin: Origin,
    ) -> Result<(), Infallible> {
        let zero = match content {
            Page::Zero => true,
            Page::Data(data) => is_zero(data),
        };
        self.record(block, page, zero, origin);
        Ok(())
    }

    fn mapped_block(
        &mut self,
        block: BlockIndex,
        bitmap: &Bitmap,
        offset: u64,
    ) -> Result<MappedPages, Infallible> {
        if self.mapped == MappedPages::Skip {
            let size = self.page_size.bytes() as u64;
            let pages = self.blocks.get(block.0).map_or(0, |b| b.used_length / size);
            for page in 0..pages {
                let origin = Origin {
                    channel: ChannelName::Main,
                    offset: offset.saturating_add(page.saturating_mul(size)),
                    bytes: if bitmap.has(page) { size } else { 0 },
                    encoding: Encoding::MappedRam,
                };
                self.record(block, PageIndex(page), !bitmap.has(page), origin);
            }
        }
        Ok(self.mapped)
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        _: &[u8],
        origin: Origin,
    ) -> Result<(), Infallible> {
        self.record(block, page, false, origin);
        Ok(())
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Infallible> {
        self.state.devices.push(section.into());
        self.places.push(SectionPlace {
            offset: section.offset,
            split: section.split,
        });
        Ok(())
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Infallible> {
        self.state.vmdesc = Some(json.to_vec());
        Ok(())
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), Infallible> {
        self.listing.add(element);
        Ok(())
    }

    fn assumption(&mut self, assumption: &Assumption) -> Result<(), Infallible> {
        let (listed, more) = &mut self.assumptions;
        if listed.len() < ASSUMPTIONS {
            listed.push(assumption.clone());
        } else {
            *more += 1;
        }
        Ok(())
    }
}
