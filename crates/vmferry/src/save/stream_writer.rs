//! A stream that is written piece by piece, in the order in which a machine sends it.

use super::lanes::Lanes;
use super::{Outgoing, PART_PAGES, RamWriter, put_vmdesc};
use crate::error::{Error, FormatError};
use crate::machine::{Configuration, MachineState, MeetingPoints, Phase, Rules, ZeroPages};
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, PageSource, RamBlocks};
use crate::wire::command::Command;
use crate::wire::configuration::MAPPED_RAM;
use crate::wire::header;
use crate::wire::ram::ListFields;
use crate::wire::section::ElementType;

/// The section number of the RAM: those of devices count up from 0, and are not known yet.
const SECTION_ID: u32 = 0x8000_0000;

/// Writes a stream from its pieces: the configuration, the blocks, pages, and devices. [`finish`](Self::finish)
/// writes its end.
///
/// Pages go out as they come, also those that come again: the machine may still run.
pub(crate) struct StreamWriter<'a, K> {
    sink: &'a mut K,
    shape: Shape,
    rules: Option<Rules>,
    stage: Stage,
    page_size: PageSize,
    ram: Option<RamWriter>,
    /// Records in the PART that has been begun.
    in_part: u64,
    vmdesc: Option<Vec<u8>>,
}

enum Shape {
    /// All pages in the main channel.
    Records,
    Multifd(Box<Packets>),
}

struct Packets {
    lanes: Lanes,
    meeting_points: MeetingPoints,
    zero_pages: ZeroPages,
    /// The pages that went out since the last meeting point: none of them may go out again before the next,
    /// because another channel may be faster.
    sent: Vec<Vec<u64>>,
    any_sent: bool,
}

/// What has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nothing,
    Head,
    Blocks,
    Ram,
    All,
}

impl<'a, K: Outgoing> StreamWriter<'a, K> {
    /// Writes to `sink`, with all pages in it.
    pub(crate) fn new(sink: &'a mut K) -> Self {
        Self {
            sink,
            shape: Shape::Records,
            rules: None,
            stage: Stage::Nothing,
            page_size: PageSize::X86,
            ram: None,
            in_part: 0,
            vmdesc: None,
        }
    }

    /// Writes to `sink`, with pages in the channels of `lanes`. Without `rules`, the machine type has to name a
    /// release.
    pub(super) fn through(sink: &'a mut K, lanes: Lanes, rules: Option<Rules>) -> Self {
        let packets = Packets {
            lanes,
            // The machine type decides, as soon as it is known.
            meeting_points: MeetingPoints::Flush,
            zero_pages: ZeroPages::Packets,
            sent: Vec::new(),
            any_sent: false,
        };
        Self {
            shape: Shape::Multifd(Box::new(packets)),
            rules,
            ..Self::new(sink)
        }
    }

    /// Writes everything that stands before the first page.
    pub(super) fn begin(
        &mut self,
        state: &MachineState,
        source: &impl PageSource,
    ) -> Result<(), Error> {
        let Some(configuration) = &state.configuration else {
            return Err(self.too_early());
        };
        self.put_configuration(configuration)?;
        self.put_blocks(source.blocks(), source.page_size())?;
        for device in state.devices_of(Phase::Early) {
            self.put_device(device.phase(), device.element())?;
        }
        Ok(())
    }

    /// Without its configuration, which names the machine type, nothing can be written of a machine.
    fn too_early(&self) -> Error {
        let what = "a machine without a configuration (of a type up to 2.3), to be sent on";
        FormatError::unsupported(0, what).into()
    }

    /// Writes the header and the configuration, which decides how the rest looks.
    pub(crate) fn put_configuration(&mut self, configuration: &Configuration) -> Result<(), Error> {
        if configuration.leaves_out_shared_memory() {
            let what = "memory that was left out of a stream (x-ignore-shared), to be sent on";
            return Err(FormatError::unsupported(0, what).into());
        }
        self.rules = self.rules.or_else(|| Rules::of(&configuration.machine));
        if let Shape::Multifd(packets) = &mut self.shape {
            let rules = self
                .rules
                .ok_or_else(|| unknown_rules(&configuration.machine))?;
            packets.meeting_points = rules.meeting_points;
            packets.zero_pages = rules.zero_pages;
        }
        header::encode(self.sink);
        let mut configuration = configuration.clone();
        configuration.capabilities.retain(|name| name != MAPPED_RAM);
        configuration.encode(self.sink);
        self.stage = Stage::Head;
        Ok(())
    }

    /// Writes the blocks; again, if there are more of them, which every destination takes.
    pub(crate) fn put_blocks(
        &mut self,
        blocks: &RamBlocks,
        page_size: PageSize,
    ) -> Result<(), Error> {
        if self.stage == Stage::Nothing {
            return Err(self.too_early());
        }
        self.end_part()?;
        self.page_size = page_size;
        let mut ram = RamWriter::of(blocks.clone(), page_size, SECTION_ID);
        let flush = match &mut self.shape {
            Shape::Records => false,
            Shape::Multifd(packets) => {
                packets.lanes.set_page_size(page_size);
                packets.sent = words(blocks, page_size);
                packets.any_sent = false;
                packets.lanes.meet()?;
                packets.meeting_points == MeetingPoints::Flush
            }
        };
        ram.begin_start(self.sink, ListFields::Plain);
        if flush {
            ram.flush_mark(self.sink);
        }
        ram.end(self.sink);
        self.ram = Some(ram);
        self.stage = Stage::Blocks;
        self.sink.flush()
    }

    /// Writes a page, also one that was written before.
    pub(crate) fn put_page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
    ) -> Result<(), Error> {
        if let Shape::Multifd(packets) = &mut self.shape {
            if !packets.first_time(block, page) {
                self.meet()?;
            }
        }
        let Some(ram) = &mut self.ram else {
            return Err(self.too_early());
        };
        if let Shape::Multifd(packets) = &mut self.shape {
            packets.first_time(block, page);
            let name = ram.blocks().get(block).map_or("", |block| &block.idstr);
            let offset = page.0 << self.page_size.bits();
            match (content, packets.zero_pages) {
                (Page::Data(data), _) => return packets.lanes.page(name, offset, data),
                (Page::Zero, ZeroPages::Packets) => return packets.lanes.zero(name, offset),
                (Page::Zero, ZeroPages::Main) => {}
            }
        }
        if self.in_part == 0 {
            ram.begin(ElementType::Part, self.sink);
        }
        self.in_part += 1;
        ram.page(block, page, content, self.sink);
        self.part_is_long()
    }

    /// Writes the differences (XBZRLE) of a page from what was written of it. Packets have none.
    pub(crate) fn put_differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
    ) -> Result<(), Error> {
        let (Shape::Records, Some(ram)) = (&self.shape, &mut self.ram) else {
            let what = "differences of pages (XBZRLE), to be sent on through multifd channels";
            return Err(FormatError::unsupported(0, what).into());
        };
        if self.in_part == 0 {
            ram.begin(ElementType::Part, self.sink);
        }
        self.in_part += 1;
        ram.differences(block, page, differences, self.sink);
        self.part_is_long()
    }

    /// Ends a PART in time, where that is not a meeting point.
    fn part_is_long(&mut self) -> Result<(), Error> {
        let mark = match &self.shape {
            Shape::Records => false,
            Shape::Multifd(packets) => packets.meeting_points == MeetingPoints::Eos,
        };
        if self.in_part < PART_PAGES || mark {
            return Ok(());
        }
        if let Some(ram) = &self.ram {
            ram.end(self.sink);
        }
        self.in_part = 0;
        self.sink.flush()
    }

    /// Brings all channels to a meeting point.
    fn meet(&mut self) -> Result<(), Error> {
        if self.in_part == 0 {
            if let Some(ram) = &self.ram {
                ram.begin(ElementType::Part, self.sink);
            }
        }
        self.in_part = 0;
        self.end_with_a_mark()
    }

    /// Ends a piece of RAM that has been begun. With multifd, it is a meeting point.
    fn end_with_a_mark(&mut self) -> Result<(), Error> {
        let Some(ram) = &self.ram else {
            return Ok(());
        };
        if let Shape::Multifd(packets) = &mut self.shape {
            packets.lanes.meet()?;
            packets.sent.iter_mut().for_each(|words| words.fill(0));
            packets.any_sent = false;
            if packets.meeting_points == MeetingPoints::Flush {
                ram.flush_mark(self.sink);
            }
        }
        ram.end(self.sink);
        self.sink.flush()
    }

    /// Ends the PART that has been begun, and meets where pages have gone out since the last time.
    fn end_part(&mut self) -> Result<(), Error> {
        let any_sent = match &self.shape {
            Shape::Records => false,
            Shape::Multifd(packets) => packets.any_sent,
        };
        if self.in_part > 0 || any_sent {
            self.meet()?;
        }
        Ok(())
    }

    fn end_ram(&mut self) -> Result<(), Error> {
        if self.ram.is_none() {
            return Err(self.too_early());
        }
        self.end_part()?;
        if self.rules.is_some_and(|rules| rules.switchover_start) {
            Command::SwitchoverStart.encode(self.sink);
        }
        if let Some(ram) = &self.ram {
            ram.begin(ElementType::End, self.sink);
        }
        self.stage = Stage::Ram;
        self.end_with_a_mark()
    }

    /// Writes the whole element of a device. The first after the RAM ends the RAM.
    pub(crate) fn put_device(&mut self, phase: Phase, element: &[u8]) -> Result<(), Error> {
        if phase == Phase::Device && self.stage != Stage::Ram {
            self.end_ram()?;
        }
        self.sink.put(element);
        self.sink.check()
    }

    /// Keeps the description of the devices, which goes with the end.
    pub(crate) fn put_vmdesc(&mut self, json: &[u8]) {
        self.vmdesc = Some(json.to_vec());
    }

    /// Writes the end, with the description of the devices, if there is one.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        if self.stage == Stage::All {
            return Ok(());
        }
        if self.stage != Stage::Ram {
            self.end_ram()?;
        }
        self.sink.put(&[ElementType::Eof as u8]);
        if let Some(json) = self.vmdesc.take() {
            put_vmdesc(&json, self.sink);
        }
        self.stage = Stage::All;
        self.sink.flush()
    }
}

/// A bit for each page.
fn words(blocks: &RamBlocks, page_size: PageSize) -> Vec<Vec<u64>> {
    let pages = blocks
        .iter()
        .map(|(_, block)| block.pages(page_size).div_ceil(64));
    pages
        .map(|words| vec![0; usize::try_from(words).unwrap_or(0)])
        .collect()
}

impl Packets {
    /// Marks a page as sent, and tells whether it was not, since the last meeting point.
    fn first_time(&mut self, block: BlockIndex, page: PageIndex) -> bool {
        self.any_sent = true;
        let word = usize::try_from(page.0 / 64).unwrap_or(usize::MAX);
        let words = self.sent.get_mut(block.0);
        let Some(word) = words.and_then(|words| words.get_mut(word)) else {
            return true;
        };
        let bit = 1 << (page.0 % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

/// The machine type decides how channels meet, and the name of this one does not say it.
pub(super) fn unknown_rules(machine: &str) -> FormatError {
    let what = format!("multifd for machine type '{machine}', which does not tell its release,");
    FormatError::unsupported(0, what)
}
