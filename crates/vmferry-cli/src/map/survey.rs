//! The pass over all pages: what each holds, counted by cell and by RAM block.

use std::collections::HashMap;
use std::ops::ControlFlow;

use anyhow::{Result, anyhow};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSource};

use super::band::{Band, Scale};
use super::class::{Census, Class, classify};

/// What was found.
#[derive(Debug)]
pub struct Survey {
    /// By RAM block, in the order of the blocks.
    pub blocks: Vec<Census>,
    /// By cell of each band.
    pub cells: Vec<Cells>,
}

/// The cells of a band.
#[derive(Debug, Clone)]
pub struct Cells {
    scale: Scale,
    pages: u64,
    counts: Vec<[u16; COUNTED]>,
}

/// Pages that were not sent are those that were not counted.
const COUNTED: usize = Class::ALL.len() - 1;

impl Cells {
    fn new(pages: u64, scale: Scale) -> Self {
        let cells = usize::try_from(scale.cells(pages)).unwrap_or(usize::MAX);
        Self {
            scale,
            pages,
            counts: vec![[0; COUNTED]; cells],
        }
    }

    /// How they are drawn.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Pages of the band.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    fn add(&mut self, page: u64, class: Class) {
        let cell = usize::try_from(page / self.scale.pages).ok();
        let cell = cell.and_then(|cell| self.counts.get_mut(cell));
        let counter = (class as usize).checked_sub(1);
        if let Some((cell, counter)) = cell.zip(counter) {
            cell[counter] = cell[counter].saturating_add(1);
        }
    }

    /// What is in all of them.
    pub fn sum(&self) -> Census {
        let mut sum = Census::default();
        for census in self.iter() {
            sum.merge(&census);
        }
        sum
    }

    /// What is in each cell.
    pub fn iter(&self) -> impl Iterator<Item = Census> {
        let mut left = self.pages;
        self.counts.iter().map(move |counts| {
            let pages = left.min(self.scale.pages);
            left -= pages;
            let mut census = Census::default();
            for (class, count) in Class::ALL.iter().skip(1).zip(counts) {
                census.add(*class, u64::from(*count));
            }
            census.add(Class::NeverSent, pages.saturating_sub(census.pages()));
            census
        })
    }
}

/// Looks at every page of `source`; with `against`, at what it was there.
///
/// # Errors
/// A page cannot be read.
pub(super) fn survey<S: PageSource, A: PageSource>(
    source: &S,
    against: Option<&A>,
    bands: &[(Band, Scale)],
) -> Result<Survey> {
    let page_size = source.page_size();
    let mut pass = Pass {
        bands,
        survey: Survey {
            blocks: source
                .blocks()
                .iter()
                .map(|(_, block)| {
                    let mut census = Census::default();
                    census.add(Class::NeverSent, block.pages(page_size));
                    census
                })
                .collect(),
            cells: bands
                .iter()
                .map(|(band, scale)| Cells::new(band.pages, *scale))
                .collect(),
        },
    };
    let Some(against) = against else {
        source.pages(&|_, _| true, &mut |block, page, content| {
            let class = match content {
                Page::Zero => Class::Zero,
                Page::Data(data) => classify(data),
            };
            pass.found(block, page, class);
            ControlFlow::Continue(())
        })?;
        return Ok(pass.survey);
    };
    compare(source, against, pass)
}

/// As [`survey`], where pages that differ are a class of their own.
fn compare<S: PageSource, A: PageSource>(
    source: &S,
    against: &A,
    mut pass: Pass<'_>,
) -> Result<Survey> {
    let size = source.page_size();
    if against.page_size() != size {
        return Err(anyhow!(
            "one has pages of {size}, the other of {}: they are of different machines",
            against.page_size()
        ));
    }
    // Where a page of ours is in the other one, by name: blocks may stand in another order.
    let other: Vec<_> = source
        .blocks()
        .iter()
        .map(|(_, block)| against.blocks().find(&block.idstr))
        .collect();
    let lengths = source.blocks().iter().map(|(_, block)| block.pages(size));
    let lengths: Vec<_> = lengths.collect();
    let mut seen: Vec<_> = lengths.iter().map(|_| Bits::default()).collect();
    let mut room = vec![0; size.bytes()];
    let mut failed = None;
    source.pages(&|_, _| true, &mut |block, page, content| {
        let mut look = || -> Result<(), A::Error> {
            seen[block.0].set(page.0);
            let was = match other[block.0] {
                Some(block) => against.page(block, page, &mut room)?,
                None => PageKind::Absent,
            };
            let class = match content {
                Page::Zero => Class::Zero,
                Page::Data(data) => classify(data),
            };
            let same = match (was, content) {
                (PageKind::Data, Page::Data(data)) => data == room,
                (PageKind::Data, Page::Zero) => false,
                (PageKind::Zero | PageKind::Absent, _) => class == Class::Zero,
            };
            pass.found(block, page, if same { class } else { Class::Changed });
            Ok(())
        };
        match look() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    // What only the other one has: here it reads as zero.
    let by_other = other.iter().enumerate();
    let by_other: HashMap<_, _> = by_other
        .filter_map(|(ours, there)| Some(((*there)?, ours)))
        .collect();
    let ours = |block: BlockIndex| by_other.get(&block).copied();
    let gone = |block, page: PageIndex| {
        ours(block).is_some_and(|at| page.0 < lengths[at] && seen[at].is_clear(page.0))
    };
    against.pages(&gone, &mut |block, page, content| {
        if let (Page::Data(data), Some(at)) = (content, ours(block)) {
            if classify(data) != Class::Zero {
                pass.found(BlockIndex(at), page, Class::Changed);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(pass.survey)
}

struct Pass<'a> {
    bands: &'a [(Band, Scale)],
    survey: Survey,
}

impl Pass<'_> {
    fn found(&mut self, block: BlockIndex, page: PageIndex, class: Class) {
        if let Some(census) = self.survey.blocks.get_mut(block.0) {
            census.turn(Class::NeverSent, class);
        }
        for ((band, _), cells) in self.bands.iter().zip(&mut self.survey.cells) {
            if band.block == block {
                if let Some(page) = page.0.checked_sub(band.first).filter(|p| *p < band.pages) {
                    cells.add(page, class);
                }
            }
        }
    }
}

/// A bit for each page, in pieces that are made where a page is set: a block may be far larger than what there is of
/// it.
#[derive(Default)]
struct Bits(HashMap<u64, Box<[u64; WORDS]>>);

/// Words of a piece: 32 Ki pages.
const WORDS: usize = 512;

impl Bits {
    fn place(page: u64) -> (u64, usize, u64) {
        let word = page / 64;
        let within = usize::try_from(word % WORDS as u64).unwrap_or_default();
        (word / WORDS as u64, within, 1 << (page % 64))
    }

    fn set(&mut self, page: u64) {
        let (piece, word, bit) = Self::place(page);
        let piece = self.0.entry(piece);
        piece.or_insert_with(|| Box::new([0; WORDS]))[word] |= bit;
    }

    fn is_clear(&self, page: u64) -> bool {
        let (piece, word, bit) = Self::place(page);
        self.0
            .get(&piece)
            .is_none_or(|piece| piece[word] & bit == 0)
    }
}

#[cfg(test)]
mod tests {
    use vmferry::load::{Image, Visitor};
    use vmferry::ram::{PageSize, RamBlock, RamBlocks};

    use super::*;
    use crate::map::band::Bands;

    fn image(blocks: &[(&str, u64)], pages: &[(usize, u64, u8)]) -> Image {
        let block = |(idstr, pages): &(&str, u64)| RamBlock {
            idstr: (*idstr).into(),
            used_length: pages * 4096,
            host_page_size: None,
        };
        let blocks: RamBlocks = blocks.iter().map(block).collect();
        let mut image = Image::default();
        let Ok(()) = image.ram_blocks(&blocks, PageSize::X86);
        for (block, page, fill) in pages {
            let (block, page) = (BlockIndex(*block), PageIndex(*page));
            image.put(block, page, Page::Data(&[*fill; 4096]));
        }
        image
    }

    fn look(source: &Image, against: Option<&Image>) -> Survey {
        let bands = Bands::of_blocks(source.blocks(), PageSize::X86);
        let scale = Scale {
            pages: 4,
            columns: 2,
            side: 1,
        };
        let bands: Vec<_> = bands.shown.into_iter().map(|band| (band, scale)).collect();
        survey(source, against, &bands).unwrap()
    }

    fn counts(census: &Census) -> [u64; Class::ALL.len()] {
        Class::ALL.map(|class| census.of(class))
    }

    #[test]
    fn every_page_is_counted_in_its_block_and_its_cell() {
        let image = image(&[("a", 10)], &[(0, 0, 0), (0, 1, b'x'), (0, 9, 7)]);
        let survey = look(&image, None);
        assert_eq!(counts(&survey.blocks[0]), [7, 1, 1, 1, 0, 0]);
        let cells: Vec<_> = survey.cells[0].iter().map(|cell| counts(&cell)).collect();
        let expected = [[2, 1, 1, 0, 0, 0], [4, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0]];
        assert_eq!(cells, expected);
    }

    #[test]
    fn against_another_state_a_page_has_changed_however_it_differs() {
        // The same, another content, now zero, only here, only there, zero against never sent.
        let here = [(1, 0, 7), (1, 1, 8), (1, 2, 0), (1, 3, 9), (1, 5, 0)];
        let there = [(0, 0, 7), (0, 1, 7), (0, 2, 7), (0, 4, 7)];
        let here = image(&[("b", 1), ("a", 8)], &here);
        let there = image(&[("a", 9), ("c", 1)], &there);
        let survey = look(&here, Some(&there));
        assert_eq!(counts(&survey.blocks[0]), [1, 0, 0, 0, 0, 0]);
        assert_eq!(counts(&survey.blocks[1]), [2, 1, 0, 1, 0, 4]);
        let survey = look(&here, Some(&here));
        assert_eq!(survey.blocks[1].of(Class::Changed), 0);
    }
}
