//! Which memory is shown, in which order, and how much of it a cell stands for.

use vmferry::ram::layout::Layout;
use vmferry::ram::{BlockIndex, PageSize, RamBlocks};

/// A stretch of one RAM block that is shown in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// The block.
    pub block: BlockIndex,
    /// Its name.
    pub idstr: String,
    /// The first page of it that is shown.
    pub first: u64,
    /// Pages.
    pub pages: u64,
    /// Where the guest sees the first of them, where that is known.
    pub address: Option<u64>,
}

/// The bands of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bands {
    /// Those that are shown: the guest's RAM by its address, then everything else by its size.
    pub shown: Vec<Band>,
    /// Blocks that are not shown, because there are too many.
    pub left_out: usize,
}

/// So many are shown.
const SHOWN: usize = 48;

impl Bands {
    /// The blocks, each a band of its own, the largest first.
    pub fn of_blocks(blocks: &RamBlocks, page_size: PageSize) -> Self {
        let bands = blocks.iter().map(|(index, block)| Band {
            block: index,
            idstr: block.idstr.clone(),
            first: 0,
            pages: block.pages(page_size),
            address: None,
        });
        Self::from(bands.collect())
    }

    /// What lies at addresses, by them; then the blocks that lie nowhere that is known.
    pub fn of_layout(layout: &Layout, blocks: &RamBlocks, page_size: PageSize) -> Self {
        let size = page_size.bytes() as u64;
        let segments = layout.segments.iter().filter_map(|segment| {
            Some(Band {
                block: segment.block,
                idstr: blocks.get(segment.block)?.idstr.clone(),
                first: segment.offset / size,
                pages: segment.len / size,
                address: Some(segment.address),
            })
        });
        let elsewhere = Self::of_blocks(blocks, page_size).shown.into_iter();
        let elsewhere = elsewhere.filter(|band| layout.left_out.contains(&band.block));
        let mut bands = Self::from(segments.chain(elsewhere).collect());
        let blocks = blocks.iter().filter(|(_, block)| block.used_length > 0);
        bands.left_out = blocks
            .filter(|(index, _)| bands.shown.iter().all(|band| band.block != *index))
            .count();
        bands
    }

    /// Only those of the block with this name.
    pub fn only(&mut self, idstr: &str) {
        self.shown.retain(|band| band.idstr == idstr);
        self.left_out = 0;
    }

    /// Pages of all that are shown.
    pub fn pages(&self) -> u64 {
        self.shown.iter().map(|band| band.pages).sum()
    }

    fn from(mut bands: Vec<Band>) -> Self {
        bands.retain(|band| band.pages > 0);
        // Known places first, in their order; then what has none.
        bands.sort_by_key(|band| {
            let place = band.address.map_or((1, 0), |address| (0, address));
            (place, std::cmp::Reverse(band.pages))
        });
        let left_out = bands.len().saturating_sub(SHOWN);
        bands.truncate(SHOWN);
        Self {
            shown: bands,
            left_out,
        }
    }
}

/// How a band is drawn: in rows of cells, from left to right and from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Pages that a cell stands for: a power of two.
    pub pages: u64,
    /// Cells in a row: a power of two.
    pub columns: u64,
    /// The side of a cell, in pixels.
    pub side: u64,
}

impl Scale {
    /// The finest scale in which `pages` fit into so many pixels.
    pub fn fit(pages: u64, width: u64, height: u64) -> Self {
        let mut finest = Self {
            pages: 1,
            columns: 1,
            side: 1,
        };
        for doublings in 0..u64::BITS {
            let cell = 1 << doublings;
            // The largest cells that still fit: with few columns, if need be.
            for columns in (0..=width.max(1).ilog2()).map(|bits| 1 << bits) {
                finest = Self {
                    pages: cell,
                    columns,
                    side: (width / columns).clamp(1, LARGEST),
                };
                if finest.columns * finest.side * 2 > width && finest.height(pages) <= height {
                    return finest;
                }
            }
        }
        finest
    }

    /// How many rows so many pages take.
    pub fn rows(&self, pages: u64) -> u64 {
        self.cells(pages).div_ceil(self.columns)
    }

    /// How many cells so many pages take.
    pub fn cells(&self, pages: u64) -> u64 {
        pages.div_ceil(self.pages)
    }

    /// How many pixels so many pages are wide.
    pub fn width(&self, pages: u64) -> u64 {
        self.cells(pages).min(self.columns) * self.side
    }

    /// How many pixels so many pages are high.
    pub fn height(&self, pages: u64) -> u64 {
        self.rows(pages).saturating_mul(self.side)
    }

    /// Pages in a row.
    pub fn row(&self) -> u64 {
        self.pages.saturating_mul(self.columns)
    }
}

/// The side of the largest cells, in pixels.
const LARGEST: u64 = 8;

#[cfg(test)]
mod tests {
    use vmferry::ram::RamBlock;
    use vmferry::ram::layout::Known;

    use super::*;

    #[test]
    fn memory_of_any_size_fits_and_fills_the_width() {
        for mib in [1, 32, 128, 512, 1024, 3000, 5120, 65_536, 4 << 20] {
            let pages = mib << 8;
            let scale = Scale::fit(pages, 1072, 1072);
            assert!(scale.height(pages) <= 1072, "{mib} MiB: {scale:?}");
            assert!(scale.columns * scale.side > 536, "{mib} MiB: {scale:?}");
            // A finer one would not have fitted.
            let half = scale.height(pages) * 5;
            assert!(scale.pages == 1 || half > 1072, "{mib} MiB: {scale:?}");
        }
        let scale = Scale::fit(512 << 8, 1072, 1072);
        assert_eq!((scale.pages, scale.columns, scale.side), (1, 512, 2));
        assert_eq!((scale.rows(512 << 8), scale.row()), (256, 512));
    }

    #[test]
    fn any_number_of_pages_has_a_scale() {
        for pages in [0, 1, 2, 1000, u64::MAX / 2, u64::MAX] {
            for (width, height) in [(1, 1), (300, 20), (4000, 4000)] {
                let scale = Scale::fit(pages, width, height);
                assert!(scale.columns * scale.side <= width, "{pages}: {scale:?}");
            }
        }
    }

    #[test]
    fn bands_stand_by_address_then_by_size_and_are_not_too_many() {
        let block = |idstr: &str, pages: u64| RamBlock {
            idstr: idstr.into(),
            used_length: pages * 4096,
            host_page_size: None,
        };
        let blocks: RamBlocks = [
            block("small", 1),
            block("none", 0),
            block("pc.ram", 100),
            block("vga", 10),
        ]
        .into_iter()
        .collect();
        let bands = Bands::of_blocks(&blocks, PageSize::X86);
        let names: Vec<_> = bands.shown.iter().map(|band| band.idstr.as_str()).collect();
        assert_eq!(names, ["pc.ram", "vga", "small"]);
        assert_eq!((bands.pages(), bands.left_out), (111, 0));

        let many: RamBlocks = (0..100).map(|n| block(&n.to_string(), n + 1)).collect();
        let mut bands = Bands::of_blocks(&many, PageSize::X86);
        assert_eq!((bands.shown.len(), bands.left_out), (48, 52));
        bands.only("99");
        assert_eq!((bands.shown.len(), bands.pages()), (1, 100));
    }

    #[test]
    fn ram_that_is_split_at_4_gib_is_two_bands_with_addresses() {
        let block = |idstr: &str, used_length| RamBlock {
            idstr: idstr.into(),
            used_length,
            host_page_size: None,
        };
        let vram = "0000:00:01.0/vga.vram";
        let blocks: RamBlocks = [
            block(vram, 16 << 20),
            block("pc.bios", 256 << 10),
            block("pc.ram", 5 << 30),
        ]
        .into_iter()
        .collect();
        let known = Known {
            machine: Some("pc-q35-10.0".into()),
            ..Known::default()
        };
        let layout = Layout::new(&blocks, PageSize::X86, &known).unwrap();
        let bands = Bands::of_layout(&layout, &blocks, PageSize::X86);
        let shown: Vec<_> = bands
            .shown
            .iter()
            .map(|band| (band.idstr.as_str(), band.address, band.first, band.pages))
            .collect();
        assert_eq!(
            shown,
            [
                ("pc.ram", Some(0), 0, 2 << 18),
                ("pc.bios", Some(0xfffc_0000), 0, 64),
                ("pc.ram", Some(1 << 32), 2 << 18, 3 << 18),
                (vram, None, 0, 4096),
            ]
        );
        assert_eq!(bands.left_out, 0);
    }
}
