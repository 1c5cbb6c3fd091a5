//! The `ram` section, written piece by piece.

use crate::machine::MachineState;
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, PageSource, RamBlocks};
use crate::wire::ram::{self, BlockRef, ListFields, Record, RecordKind};
use crate::wire::section::{self, ElementType, SectionHeader};
use crate::wire::{Sink, xbzrle};

/// Writes the pieces of one `ram` section: START with the block list, then PART and END with pages.
#[derive(Debug, Clone)]
pub struct RamWriter {
    section_id: u32,
    page_size: PageSize,
    blocks: RamBlocks,
    /// The block that CONTINUE means.
    current: Option<BlockIndex>,
    footers: Footers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footers {
    Written,
    Omitted,
}

impl RamWriter {
    /// The section that goes with a machine's devices: the blocks of `source`, a number that no device has, and
    /// footers where the devices have them.
    pub fn of_machine(state: &MachineState, source: &impl PageSource) -> Self {
        let ram = Self::new(source, state.unused_section_id());
        match state.has_footers() {
            true => ram,
            false => ram.without_footers(),
        }
    }

    /// A section with this number and the blocks of `source`.
    pub fn new(source: &impl PageSource, section_id: u32) -> Self {
        Self::of(source.blocks().clone(), source.page_size(), section_id)
    }

    /// A section with this number and these blocks.
    pub fn of(blocks: RamBlocks, page_size: PageSize, section_id: u32) -> Self {
        Self {
            section_id,
            page_size,
            blocks,
            current: None,
            footers: Footers::Written,
        }
    }

    /// Leaves the footers out, for machine types up to 2.3.
    #[must_use]
    pub fn without_footers(mut self) -> Self {
        self.footers = Footers::Omitted;
        self
    }

    /// The blocks.
    pub fn blocks(&self) -> &RamBlocks {
        &self.blocks
    }

    /// The blocks, for what the destination knows better: the host pages behind them.
    pub fn blocks_mut(&mut self) -> &mut RamBlocks {
        &mut self.blocks
    }

    /// Writes the START element: the block list alone.
    pub fn start(&mut self, sink: &mut impl Sink, fields: ListFields) {
        self.begin_start(sink, fields);
        self.end(sink);
    }

    /// Begins the START element with the block list; other records may follow.
    pub(super) fn begin_start(&mut self, sink: &mut impl Sink, fields: ListFields) {
        let header = SectionHeader {
            section_id: self.section_id,
            idstr: ram::IDSTR.to_owned(),
            instance_id: 0,
            version_id: ram::VERSION,
        };
        header.encode(ElementType::Start, sink);
        ram::encode_blocks(&self.blocks, fields, sink);
    }

    /// Marks a meeting point of all multifd channels.
    pub(super) fn flush_mark(&self, sink: &mut impl Sink) {
        let record = Record {
            kind: RecordKind::MultifdFlush,
            offset: 0,
            block: BlockRef::Named,
        };
        sink.put(&record.word().to_be_bytes());
    }

    /// Writes the START element of a mapped-ram file up to its first block: for each comes an
    /// entry, a header, and its pages; then [`end`](Self::end).
    pub(super) fn start_mapped(&self, sink: &mut impl Sink) {
        let header = SectionHeader {
            section_id: self.section_id,
            idstr: ram::IDSTR.to_owned(),
            instance_id: 0,
            version_id: ram::VERSION,
        };
        header.encode(ElementType::Start, sink);
        let record = Record {
            kind: RecordKind::MemSize,
            offset: self.blocks.total_length(),
            block: BlockRef::Named,
        };
        sink.put(&record.word().to_be_bytes());
    }

    /// Begins a PART or END element; pages may follow.
    pub fn begin(&self, element: ElementType, sink: &mut impl Sink) {
        section::encode_continued(element, self.section_id, sink);
    }

    /// Writes one page.
    #[inline]
    pub fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        sink: &mut impl Sink,
    ) {
        let (kind, bytes): (_, &[u8]) = match content {
            Page::Zero => (RecordKind::Zero, &[0]),
            Page::Data(data) => (RecordKind::Page, data),
        };
        self.head(kind, block, page, sink);
        sink.put(bytes);
    }

    /// Writes one page as its [differences](xbzrle::encode) from what the destination has.
    pub fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        sink: &mut impl Sink,
    ) {
        self.head(RecordKind::Xbzrle, block, page, sink);
        xbzrle::put_record(differences, sink);
    }

    #[inline]
    fn head(&mut self, kind: RecordKind, block: BlockIndex, page: PageIndex, sink: &mut impl Sink) {
        let block_ref = if self.current == Some(block) {
            BlockRef::Continue
        } else {
            BlockRef::Named
        };
        let record = Record {
            kind,
            offset: page.0 << self.page_size.bits(),
            block: block_ref,
        };
        sink.put(&record.word().to_be_bytes());
        if block_ref == BlockRef::Named {
            let name = self.blocks.get(block).map_or("", |block| &block.idstr);
            sink.put_name(name);
            self.current = Some(block);
        }
    }

    /// Ends an element: no more pages in it.
    pub fn end(&self, sink: &mut impl Sink) {
        sink.put(&ram::EOS_RECORD);
        if self.footers == Footers::Written {
            sink.put(&section::footer(self.section_id));
        }
    }

    /// The next page names its block: after a switch to postcopy, or on another channel.
    pub fn forget_block(&mut self) {
        self.current = None;
    }
}
