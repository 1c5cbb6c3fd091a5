//! Guest RAM as QEMU's migration sees it: named blocks made of target pages.
//!
//! An offset is always a byte offset *inside a block*, never a guest-physical address. A *page* is
//! a target page (4 KiB on x86); the memory behind a block may use larger *host pages*, which
//! matters only in postcopy, where a host page is placed as a whole.

mod erased;
pub mod layout;
mod source;
mod zero;

pub use erased::{Erased, PageError};
pub use source::{Page, PageKind, PageRange, PageSource};
pub use zero::is_zero;

use std::fmt;

use crate::work;

/// The number of a page within its RAM block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageIndex(pub u64);

/// The number of a RAM block within its [`RamBlocks`] table, in stream order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub usize);

/// Size of a target page: a power of two from 1 KiB to 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// 4 KiB: x86, and everything else that does not say otherwise.
    pub const X86: Self = Self(4096);
    /// The smallest target page that QEMU knows (1 KiB, old ARM).
    pub const MIN: Self = Self(1 << 10);
    /// The largest target page that QEMU knows (64 KiB).
    pub const MAX: Self = Self(1 << 16);

    /// The page size of `bytes`, or `None` if no target has such pages.
    pub fn new(bytes: u64) -> Option<Self> {
        let size = u32::try_from(bytes).ok()?;
        (size.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&size))
            .then_some(Self(size))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The bits of an offset that lie within a page.
    pub const fn mask(self) -> u64 {
        self.0 as u64 - 1
    }

    /// log2 of the size: QEMU's "target page bits".
    #[doc(alias = "TARGET_PAGE_BITS")]
    pub const fn bits(self) -> u32 {
        self.0.trailing_zeros()
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.0 / 1024)
    }
}

/// One named region of guest RAM, ROM or device memory that migrates.
#[doc(alias = "RAMBlock")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamBlock {
    /// Its name: `pc.ram`, `pc.bios`, `0000:00:02.0/vga.vram`, …; 1 to 255 bytes.
    pub idstr: String,
    /// Bytes in use, a multiple of the target page size.
    pub used_length: u64,
    /// Size in bytes of the host pages behind it, where the stream tells: only for blocks on huge
    /// pages, and only with postcopy enabled at the source.
    pub host_page_size: Option<u64>,
}

impl RamBlock {
    /// How many target pages of `size` the block has.
    pub fn pages(&self, size: PageSize) -> u64 {
        self.used_length / size.bytes() as u64
    }
}

/// The RAM blocks of one machine in stream order, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RamBlocks {
    blocks: Vec<RamBlock>,
    /// Their indices, in the order of their names: a stream may have thousands, and name one with each page.
    by_name: Vec<usize>,
    /// As far as there are any.
    addresses: Vec<Option<u64>>,
}

impl RamBlocks {
    /// The blocks in stream order.
    pub fn as_slice(&self) -> &[RamBlock] {
        &self.blocks
    }

    /// Adds a block, or updates the one of the same name, and tells its index.
    pub fn insert(&mut self, block: RamBlock) -> BlockIndex {
        match self.search(&block.idstr) {
            Ok(at) => {
                let index = self.by_name[at];
                self.blocks[index] = block;
                BlockIndex(index)
            }
            Err(at) => {
                let index = self.blocks.len();
                self.by_name.insert(at, index);
                self.blocks.push(block);
                BlockIndex(index)
            }
        }
    }

    /// The block with this name.
    pub fn find(&self, idstr: &str) -> Option<BlockIndex> {
        let at = self.search(idstr).ok()?;
        self.by_name.get(at).copied().map(BlockIndex)
    }

    /// Where a name is in `by_name`, or belongs.
    fn search(&self, idstr: &str) -> Result<usize, usize> {
        let blocks = &self.blocks;
        self.by_name.binary_search_by(|index| {
            work::count(1);
            blocks[*index].idstr.as_str().cmp(idstr)
        })
    }

    /// The block with this index.
    pub fn get(&self, index: BlockIndex) -> Option<&RamBlock> {
        self.blocks.get(index.0)
    }

    /// Where the block is in the region that it is a part of, where the stream tells (capability
    /// `x-ignore-shared`): a guest-physical address for firmware, and mostly 0 for RAM.
    pub fn address(&self, index: BlockIndex) -> Option<u64> {
        self.addresses.get(index.0).copied().flatten()
    }

    /// The block with this index is there.
    pub fn set_address(&mut self, index: BlockIndex, address: Option<u64>) {
        if address.is_some() && self.addresses.len() <= index.0 && index.0 < self.blocks.len() {
            self.addresses.resize(index.0 + 1, None);
        }
        if let Some(place) = self.addresses.get_mut(index.0) {
            *place = address;
        }
    }

    /// The blocks with their indices, in stream order.
    pub fn iter(&self) -> impl Iterator<Item = (BlockIndex, &RamBlock)> {
        self.blocks
            .iter()
            .enumerate()
            .map(|(index, block)| (BlockIndex(index), block))
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Bytes in all blocks together, if so many can be counted.
    pub(crate) fn checked_total_length(&self) -> Option<u64> {
        let mut lengths = self.blocks.iter().map(|block| block.used_length);
        lengths.try_fold(0, u64::checked_add)
    }

    /// Bytes in all blocks together.
    pub fn total_length(&self) -> u64 {
        self.blocks.iter().map(|block| block.used_length).sum()
    }
}

impl FromIterator<RamBlock> for RamBlocks {
    fn from_iter<I: IntoIterator<Item = RamBlock>>(blocks: I) -> Self {
        let mut table = Self::default();
        for block in blocks {
            table.insert(block);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_size_is_a_power_of_two_that_some_target_has() {
        assert_eq!(PageSize::new(4096), Some(PageSize::X86));
        assert_eq!(PageSize::new(65536), Some(PageSize::MAX));
        assert_eq!(PageSize::new(512), None);
        assert_eq!(PageSize::new(131_072), None);
        assert_eq!(PageSize::new(4097), None);
        assert_eq!(PageSize::X86.bits(), 12);
    }

    #[test]
    fn a_block_named_twice_is_one_block_with_the_later_length() {
        let block = |idstr: &str, used_length| RamBlock {
            idstr: idstr.into(),
            used_length,
            host_page_size: None,
        };
        let blocks: RamBlocks = [
            block("pc.ram", 8192),
            block("pc.bios", 4096),
            block("pc.ram", 16384),
        ]
        .into_iter()
        .collect();
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks.find("pc.ram"), Some(BlockIndex(0)));
        assert_eq!(blocks.total_length(), 16384 + 4096);
    }
}
