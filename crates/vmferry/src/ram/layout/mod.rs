//! Where RAM blocks lie in the guest-physical address space.
//!
//! A stream names blocks and offsets, and no address. What the machine does with them is worked out:
//!
//! ```text
//! main RAM      one block, or one for each NUMA node, as one line of R bytes
//!               [0, below)           at base
//!               [below, R)           at 4 GiB, on machines that split it
//! firmware      ends at 4 GiB: pc.bios; system.flash0, and system.flash1 under it
//! device memory where it is said to be: virtio-mem says it in the stream, a DIMM does not
//! ```
//!
//! `below` is told by the machine's real-time clock, whose memory the firmware reads it from, and by the
//! rule of the machine type (`split`). Nothing here is certain in the way that a stream is: a
//! [`Layout`] carries each thing that was taken for granted, as a sentence.

mod main_ram;
mod split;

use super::{BlockIndex, PageSize, RamBlocks};

/// Where the memory begins that does not fit below 4 GiB.
pub const HIGH: u64 = 1 << 32;

/// What is known of a machine beside its RAM blocks.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The machine type: `pc-q35-10.0`.
    pub machine: Option<String>,
    /// The memory of its real-time clock: the first 128 bytes of device `mc146818rtc`.
    pub cmos: Option<Vec<u8>>,
    /// How much RAM lies below 4 GiB, if somebody says so: believed before all else.
    pub below_4g: Option<u64>,
    /// The blocks of the main RAM in the order of their addresses, if somebody says so.
    pub main: Vec<String>,
    /// Where other blocks lie.
    pub placed: Vec<(String, u64)>,
}

/// Where a machine's memory lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In the order of their addresses; none lies over another.
    pub segments: Vec<Segment>,
    /// Blocks of which nothing is known.
    pub left_out: Vec<BlockIndex>,
    /// What was taken for granted, and why: sentences.
    pub assumptions: Vec<String>,
}

/// A part of a block at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Guest-physical, in bytes.
    pub address: u64,
    /// In bytes: at least a page, and whole pages.
    pub len: u64,
    /// Whose bytes lie there.
    pub block: BlockIndex,
    /// Where in the block they begin.
    pub offset: u64,
    /// What it is.
    pub kind: Kind,
}

/// What a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The machine's main RAM.
    Ram,
    /// Memory of a device: a DIMM, virtio-mem.
    Device,
    /// BIOS or flash.
    Firmware,
}

/// Why there is no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// No block looks like main RAM.
    #[error("no RAM block looks like the machine's main memory; there are {0}")]
    NoMainRam(String),
    /// Several blocks might be main RAM.
    #[error(
        "which RAM blocks are the main memory, in which order? There are {candidates}, and the machine's clock \
         says that it has {expected} in all"
    )]
    WhichMainRam {
        /// They.
        candidates: String,
        /// Their sum should be this.
        expected: String,
    },
    /// A block that was named is not there.
    #[error("there is no RAM block '{name}'; there are {known}")]
    NoSuchBlock {
        /// As it was named.
        name: String,
        /// Those that are there.
        known: String,
    },
    /// Nobody says how the main RAM is split.
    #[error(
        "how much RAM {} has below 4 GiB is not known, and its state does not say",
        if machine.is_empty() { "this machine, whose type is not named," } else { machine }
    )]
    UnknownSplit {
        /// The machine type; empty where it is not named.
        machine: String,
    },
    /// A size that somebody said makes no sense.
    #[error("{found} bytes below 4 GiB: expected whole pages, and not more than 4 GiB")]
    BadSplit {
        /// As it was said.
        found: u64,
    },
    /// Two blocks at one address.
    #[error("RAM blocks '{first}' and '{second}' would both lie at {address:#x}")]
    Overlap {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// The first address of the other.
        address: u64,
    },
    /// An address that no machine has.
    #[error(
        "RAM block '{block}' cannot lie at {address:#x}: expected the address of a page, below 2^63"
    )]
    BadAddress {
        /// The block.
        block: String,
        /// The address.
        address: u64,
    },
}

impl Layout {
    /// Works out where `blocks` lie.
    ///
    /// # Errors
    /// Too little is known, or what is known contradicts itself.
    pub fn new(
        blocks: &RamBlocks,
        page_size: PageSize,
        known: &Known,
    ) -> Result<Self, LayoutError> {
        let mut placing = Placing {
            blocks,
            page_size,
            layout: Self {
                segments: Vec::new(),
                left_out: Vec::new(),
                assumptions: Vec::new(),
            },
        };
        let assumptions = &mut placing.layout.assumptions;
        let main = main_ram::find(blocks, known, assumptions)?;
        placing.main(&main, known)?;
        for (name, address) in &known.placed {
            let block = main_ram::named(blocks, name)?;
            placing.add(
                *address,
                block,
                0,
                blocks.as_slice()[block.0].used_length,
                Kind::Device,
            )?;
        }
        placing.firmware()?;
        placing.finish()
    }

    /// The segments of one kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Segment> {
        self.segments
            .iter()
            .filter(move |segment| segment.kind == kind)
    }

    /// Where address `address` lies, if it lies in a segment, and how many bytes of the segment follow.
    pub fn find(&self, address: u64) -> Option<(BlockIndex, u64, u64)> {
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.address <= address)?;
        let within = address - segment.address;
        let left = segment.len.checked_sub(within).filter(|left| *left > 0)?;
        Some((segment.block, segment.offset + within, left))
    }
}

impl Segment {
    /// The address behind its last byte.
    pub fn end(&self) -> u64 {
        self.address + self.len
    }
}

struct Placing<'a> {
    blocks: &'a RamBlocks,
    page_size: PageSize,
    layout: Layout,
}

impl Placing<'_> {
    fn add(
        &mut self,
        address: u64,
        block: BlockIndex,
        offset: u64,
        len: u64,
        kind: Kind,
    ) -> Result<(), LayoutError> {
        let end = address.checked_add(len).filter(|end| *end <= 1 << 63);
        if end.is_none() || address & self.page_size.mask() != 0 {
            let block = self.name(block);
            return Err(LayoutError::BadAddress { block, address });
        }
        if len > 0 {
            self.layout.segments.push(Segment {
                address,
                len,
                block,
                offset,
                kind,
            });
        }
        Ok(())
    }

    fn main(&mut self, main: &[BlockIndex], known: &Known) -> Result<(), LayoutError> {
        let lengths = main
            .iter()
            .map(|block| self.blocks.as_slice()[block.0].used_length);
        let total = lengths.fold(0, u64::saturating_add);
        let first = main.first().map(|block| self.name(*block));
        let assumptions = &mut self.layout.assumptions;
        let split = split::find(total, first.as_deref(), self.page_size, known, assumptions)?;
        let mut position = 0;
        for &block in main {
            let len = self.blocks.as_slice()[block.0].used_length;
            let low = len.min(split.below.saturating_sub(position));
            self.add(
                split.base.saturating_add(position),
                block,
                0,
                low,
                Kind::Ram,
            )?;
            let above = position.saturating_add(low).saturating_sub(split.below);
            self.add(HIGH.saturating_add(above), block, low, len - low, Kind::Ram)?;
            position = position.saturating_add(len);
        }
        Ok(())
    }

    /// Flash takes the place of the BIOS.
    fn firmware(&mut self) -> Result<(), LayoutError> {
        let mut end = HIGH;
        let stacked: &[&str] = match self.blocks.find("system.flash0") {
            Some(_) => &["system.flash0", "system.flash1"],
            None => &["pc.bios"],
        };
        for name in stacked {
            let Some(block) = self.blocks.find(name) else {
                continue;
            };
            let len = self.blocks.as_slice()[block.0].used_length;
            end = end.saturating_sub(len);
            self.add(end, block, 0, len, Kind::Firmware)?;
        }
        for (name, address) in [("virt.flash0", 0), ("virt.flash1", 0x0400_0000)] {
            if let Some(block) = self.blocks.find(name) {
                let len = self.blocks.as_slice()[block.0].used_length;
                self.add(address, block, 0, len, Kind::Firmware)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Layout, LayoutError> {
        self.layout.segments.sort_by_key(|segment| segment.address);
        for pair in self.layout.segments.windows(2) {
            if let [first, second] = pair {
                if first.end() > second.address {
                    return Err(LayoutError::Overlap {
                        first: self.name(first.block),
                        second: self.name(second.block),
                        address: second.address,
                    });
                }
            }
        }
        for (index, block) in self.blocks.iter() {
            let segments = &self.layout.segments;
            if segments.iter().any(|segment| segment.block == index) || block.used_length == 0 {
                continue;
            }
            self.layout.left_out.push(index);
            if main_ram::may_be(&block.idstr) {
                self.layout.assumptions.push(format!(
                    "RAM block '{}' ({}) is left out: where it lies is not in the state",
                    block.idstr,
                    size(block.used_length)
                ));
            }
        }
        Ok(self.layout)
    }

    fn name(&self, block: BlockIndex) -> String {
        let block = self.blocks.get(block);
        block.map_or_else(String::new, |block| block.idstr.clone())
    }
}

/// A size as people write it, exactly.
fn size(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        30..64 => format!("{} GiB", bytes >> 30),
        20..30 => format!("{} MiB", bytes >> 20),
        10..20 => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests;
