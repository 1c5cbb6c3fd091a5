//! A picture of a guest's memory: what its pages hold, and where.
//!
//! ```text
//! RAM blocks ─► band    which stretches are shown, and in which scale
//! pages ──────► survey  what each holds (class), counted by cell
//! counts ─────► draw    squares, addresses, legend ─► canvas ─► PNG
//! ```
//!
//! What is held in memory is counts by cell, as many as the picture has squares, and a bit for each page where
//! two states are compared.

mod band;
mod canvas;
mod class;
mod draw;
mod survey;

pub use band::{Band, Bands, Scale};
pub use canvas::{Canvas, Paper};
pub use class::{Census, Class};
pub use draw::{Heading, share};
pub use survey::{Cells, Survey};

use anyhow::Result;
use vmferry::ram::PageSource;

/// What is known of a guest's memory, ready to be drawn.
#[derive(Debug)]
pub struct Map {
    bands: Vec<(Band, Scale)>,
    survey: Survey,
    page_bytes: u64,
    compared: bool,
}

impl Map {
    /// Looks at all pages of `source`. `width` is that of the picture, in pixels.
    ///
    /// # Errors
    /// A page cannot be read.
    pub fn of<S: PageSource, A: PageSource>(
        source: &S,
        against: Option<&A>,
        bands: Vec<Band>,
        width: u64,
    ) -> Result<Self> {
        let bands = scaled(bands, draw::width_for_cells(width));
        let survey = survey::survey(source, against, &bands)?;
        Ok(Self {
            bands,
            survey,
            page_bytes: source.page_size().bytes() as u64,
            compared: against.is_some(),
        })
    }

    /// What was found in each RAM block, in the order of the blocks.
    pub fn blocks(&self) -> &[Census] {
        &self.survey.blocks
    }

    /// The bands, with what is in their cells.
    pub fn bands(&self) -> impl Iterator<Item = (&Band, &Cells)> {
        let bands = self.bands.iter().map(|(band, _)| band);
        bands.zip(&self.survey.cells)
    }

    /// What was found in all that is shown.
    pub fn shown(&self) -> Census {
        let mut sum = Census::default();
        for cells in &self.survey.cells {
            sum.merge(&cells.sum());
        }
        sum
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// Whether another state was looked at.
    pub fn compared(&self) -> bool {
        self.compared
    }

    /// The picture, with its explanation in it.
    pub fn picture(&self, heading: &Heading, width: u64) -> Canvas {
        draw::picture(heading, width, self)
    }
}

/// Gives each band its scale. Large ones have one together, so that they can be compared.
fn scaled(bands: Vec<Band>, width: u64) -> Vec<(Band, Scale)> {
    let large = |band: &Band| band.pages >= LARGE;
    let pages = bands.iter().filter(|band| large(band)).map(|b| b.pages);
    // As high as it is wide, all together.
    let common = Scale::fit(pages.fold(0, u64::saturating_add), width, width);
    bands
        .into_iter()
        .map(|band| {
            let scale = match large(&band) {
                true => common,
                false => Scale::fit(band.pages, width.min(SMALL_WIDTH), SMALL_HEIGHT),
            };
            (band, scale)
        })
        .collect()
}

/// A band of so many pages is large.
const LARGE: u64 = 16 << 10;

/// The room for one that is not, in pixels.
const SMALL_WIDTH: u64 = 512;
const SMALL_HEIGHT: u64 = 64;
