//! Where a saved machine's memory lies in its address space.

use serde::Serialize;
use vmferry::machine::MachineState;
use vmferry::ram::layout::{Kind, Layout, Segment};
use vmferry::ram::{BlockIndex, PageSize, RamBlocks};

use super::known::of_state;

/// A part of a RAM block at an address.
#[derive(Debug, Clone, Serialize)]
pub struct Placed {
    /// Guest-physical, in bytes.
    pub address: u64,
    /// In bytes.
    pub length: u64,
    /// The block.
    pub idstr: String,
    /// Where in the block it begins.
    pub offset: u64,
    /// `ram`, `device`, `firmware`.
    pub kind: &'static str,
}

/// Works it out; an error says why that is not possible.
pub fn layout(
    state: &MachineState,
    blocks: &RamBlocks,
    page_size: PageSize,
) -> Result<Layout, String> {
    let known = of_state(state, blocks);
    Layout::new(blocks, page_size, &known).map_err(|error| error.to_string())
}

/// The segments of a layout, for results.
pub fn placed(layout: &Layout, blocks: &RamBlocks) -> Vec<Placed> {
    let segments = layout.segments.iter();
    let placed = segments.map(|segment| Placed {
        address: segment.address,
        length: segment.len,
        idstr: blocks
            .get(segment.block)
            .map(|block| block.idstr.clone())
            .unwrap_or_default(),
        offset: segment.offset,
        kind: match segment.kind {
            Kind::Ram => "ram",
            Kind::Device => "device",
            Kind::Firmware => "firmware",
        },
    });
    placed.collect()
}

/// The segment in which a byte of a block lies.
pub fn segment_of(layout: &Layout, block: BlockIndex, offset: u64) -> Option<&Segment> {
    let mut segments = layout.segments.iter();
    segments.find(|segment| {
        let range = segment.offset..segment.offset.saturating_add(segment.len);
        segment.block == block && range.contains(&offset)
    })
}
