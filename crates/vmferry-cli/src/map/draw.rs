//! The picture: what was found, with everything that explains it drawn into it.

use super::Map;
use super::band::Band;
use super::canvas::{Canvas, Colour, GLYPH};
use super::class::{Census, Class};
use super::survey::Cells;
use crate::ui;

/// What stands above the picture.
#[derive(Debug, Clone, Default)]
pub struct Heading {
    /// What it is a picture of.
    pub title: String,
    /// More about it, a line each.
    pub lines: Vec<String>,
    /// What stands below it, a line each.
    pub below: Vec<String>,
}

impl Cells {
    /// A picture of them, and nothing else.
    pub fn draw(&self) -> Canvas {
        let scale = self.scale();
        let mut canvas = Canvas::new(
            pixels(scale.width(self.pages())).max(1),
            pixels(scale.height(self.pages())).max(1),
        );
        draw_cells(&mut canvas, 0, 0, self);
        canvas
    }

    /// Rows that have their address beside them, and it; the first page is at `start`.
    pub fn ticks(&self, start: u64, page_bytes: u64) -> impl Iterator<Item = (u64, u64)> {
        let scale = self.scale();
        // A power of two, so that addresses are round.
        let mut every = 1;
        while every * scale.side < APART {
            every *= 2;
        }
        let row_bytes = scale.row().saturating_mul(page_bytes);
        let rows = (0..scale.rows(self.pages())).step_by(pixels(every));
        rows.map(move |row| (row, start.saturating_add(row.saturating_mul(row_bytes))))
    }
}

/// A whole picture.
pub(super) fn picture(heading: &Heading, width: u64, map: &Map) -> Canvas {
    let page_bytes = map.page_bytes();
    let bands: Vec<_> = map.bands().collect();
    // No wider than what is in it: rows are powers of two, and may leave room.
    let widths = bands
        .iter()
        .map(|(_, cells)| cells.scale().width(cells.pages()));
    let widest = 2 * MARGIN + LABELS + 1 + pixels(widths.max().unwrap_or(0));
    let width = pixels(width).min(widest.max(NARROWEST));
    let inner = width.saturating_sub(2 * MARGIN);
    let legend = Legend::new(&map.shown(), page_bytes, map.compared(), inner);
    let captions: Vec<_> = bands
        .iter()
        .map(|(band, cells)| caption(band, cells, page_bytes))
        .collect();
    let heights = bands
        .iter()
        .map(|(_, cells)| BAND + pixels(cells.scale().height(cells.pages())));
    let height = MARGIN
        + 2 * GLYPH
        + GAP
        + (heading.lines.len() + heading.below.len()) * LINE
        + legend.height()
        + heights.sum::<usize>()
        + MARGIN
        + GAP;
    let mut canvas = Canvas::new(width, height);
    let mut y = MARGIN;
    let title = shortened(&heading.title, inner / (2 * GLYPH));
    canvas.text(MARGIN, y, 2, &title, Colour::INK);
    y += 2 * GLYPH + GAP;
    for line in &heading.lines {
        let line = shortened(line, inner / GLYPH);
        canvas.text(MARGIN, y, 1, &line, Colour::FAINT);
        y += LINE;
    }
    y += legend.draw(&mut canvas, y);
    for ((band, cells), caption) in bands.iter().zip(captions) {
        let caption = shortened(&caption, inner / GLYPH);
        canvas.text(MARGIN, y + GAP, 1, &caption, Colour::INK);
        y += BAND;
        let x = MARGIN + LABELS;
        let scale = cells.scale();
        let (wide, high) = (scale.width(cells.pages()), scale.height(cells.pages()));
        canvas.frame(
            x - 1,
            y - 1,
            pixels(wide) + 2,
            pixels(high) + 2,
            Colour::FAINT,
        );
        draw_cells(&mut canvas, x, y, cells);
        let start = band
            .address
            .unwrap_or_else(|| band.first.saturating_mul(page_bytes));
        for (row, address) in cells.ticks(start, page_bytes) {
            let (y, label) = (y + pixels(row * scale.side), format!("{address:#x}"));
            canvas.fill(x - 5, y, 4, 1, Colour::FAINT);
            let left = (x - 8).saturating_sub(label.len() * GLYPH);
            canvas.text(left, y.saturating_sub(3), 1, &label, Colour::INK);
        }
        y += pixels(high);
    }
    y += GAP;
    for line in &heading.below {
        let line = shortened(line, inner / GLYPH);
        canvas.text(MARGIN, y, 1, &line, Colour::FAINT);
        y += LINE;
    }
    canvas
}

/// The width that is left for cells in a picture of a width.
pub(super) fn width_for_cells(width: u64) -> u64 {
    width
        .saturating_sub((2 * MARGIN + LABELS + 1) as u64)
        .max(1)
}

fn draw_cells(canvas: &mut Canvas, left: usize, top: usize, cells: &Cells) {
    let scale = cells.scale();
    let (columns, side) = (pixels(scale.columns), pixels(scale.side));
    let mut owed = [0_i64; Class::ALL.len()];
    for (at, census) in cells.iter().enumerate() {
        let (row, column) = (at / columns, at % columns);
        let class = next(&mut owed, &census);
        canvas.class(left + column * side, top + row * side, side, side, class);
    }
}

/// Which class a cell shows that holds several: they take turns, each as often as it has pages, so that
/// areas tell shares even where a cell stands for many pages.
fn next(owed: &mut [i64; Class::ALL.len()], census: &Census) -> Class {
    let pages = census.pages().max(1);
    let part = |class| i64::try_from(census.of(class) * WHOLE / pages).unwrap_or(0);
    for (owed, class) in owed.iter_mut().zip(Class::ALL) {
        *owed += part(class);
    }
    // Only what is here is shown here, whatever is owed to others.
    let here = Class::ALL.into_iter().filter(|class| census.of(*class) > 0);
    let shown = here.max_by_key(|class| owed[*class as usize]);
    let shown = shown.unwrap_or(Class::NeverSent);
    owed[shown as usize] -= WHOLE as i64;
    // A debt that could not be paid where the pages are is not paid far away from them.
    for owed in owed.iter_mut() {
        *owed = (*owed).clamp(-(WHOLE as i64), WHOLE as i64);
    }
    shown
}

/// A cell, in parts.
const WHOLE: u64 = 1 << 16;

fn caption(band: &Band, cells: &Cells, page_bytes: u64) -> String {
    let scale = cells.scale();
    let size = ui::bytes(band.pages.saturating_mul(page_bytes));
    let first = band.first.saturating_mul(page_bytes);
    let place = match band.address {
        Some(address) => format!("guest-physical {address:#x}, "),
        None if first > 0 => format!("from {first:#x}, "),
        None => String::new(),
    };
    let name = &band.idstr;
    if scale.pages == 1 && scale.rows(cells.pages()) == 1 {
        return format!("{name}  {place}{size}");
    }
    let square = match scale.pages {
        1 => "a page".into(),
        pages => format!("{pages} pages"),
    };
    let row = ui::bytes(scale.row().saturating_mul(page_bytes));
    format!("{name}  {place}{size}; a square is {square}, a row {row}")
}

/// Pixels between two addresses, at least.
const APART: u64 = 32;

/// What the colours mean.
struct Legend {
    entries: Vec<(Class, String)>,
    columns: usize,
}

impl Legend {
    fn new(sum: &Census, page_bytes: u64, compared: bool, width: usize) -> Self {
        let entries: Vec<_> = Class::ALL
            .into_iter()
            .filter(|class| *class != Class::Changed || compared)
            .map(|class| {
                let pages = sum.of(class);
                let share = share(pages, sum.pages());
                let size = ui::bytes(pages.saturating_mul(page_bytes));
                let text = format!("{:<15}{share:>7}  {size}", class.name());
                (class, text)
            })
            .collect();
        Self {
            columns: (width / LEGEND).clamp(1, 3),
            entries,
        }
    }

    fn height(&self) -> usize {
        self.entries.len().div_ceil(self.columns) * SWATCH_LINE + 2 * GAP
    }

    /// Draws it, and tells its height.
    fn draw(&self, canvas: &mut Canvas, top: usize) -> usize {
        let rows = self.entries.len().div_ceil(self.columns).max(1);
        for (at, (class, text)) in self.entries.iter().enumerate() {
            let x = MARGIN + at / rows * LEGEND;
            let y = top + GAP + at % rows * SWATCH_LINE;
            canvas.class(x, y, SWATCH, SWATCH, *class);
            canvas.frame(x, y, SWATCH, SWATCH, Colour::FAINT);
            canvas.text(x + SWATCH + 8, y + 3, 1, text, Colour::INK);
        }
        self.height()
    }
}

/// `12.3 %`.
pub fn share(part: u64, whole: u64) -> String {
    match (u128::from(part) * 1000 + u128::from(whole) / 2).checked_div(u128::from(whole)) {
        Some(0) if part > 0 => "< 0.1 %".into(),
        Some(per_mille) => format!("{}.{} %", per_mille / 10, per_mille % 10),
        None => "-".into(),
    }
}

/// As much of a text as there is room for.
fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(letters.saturating_sub(3)).collect();
    kept + "..."
}

/// What is bounded by the width of the picture.
fn pixels(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

const MARGIN: usize = 16;
/// The room for addresses.
const LABELS: usize = 13 * GLYPH;
const LINE: usize = 14;
const GAP: usize = 10;
/// Above a band: a gap, its caption, and a little.
const BAND: usize = 2 * GAP + LINE;
const SWATCH: usize = 14;
const SWATCH_LINE: usize = 22;
/// The width of an entry of the legend.
const LEGEND: usize = 44 * GLYPH;
/// Two columns of it, which captions fit into, too.
const NARROWEST: usize = 2 * (LEGEND + MARGIN);

#[cfg(test)]
mod tests {
    use super::*;

    fn census(pages: &[(Class, u64)]) -> Census {
        let mut census = Census::default();
        for (class, pages) in pages {
            census.add(*class, *pages);
        }
        census
    }

    #[test]
    fn classes_take_turns_as_often_as_they_have_pages() {
        let cell = census(&[(Class::Zero, 5), (Class::Text, 2), (Class::Changed, 1)]);
        let mut owed = [0; Class::ALL.len()];
        let mut shown = Census::default();
        for _ in 0..800 {
            shown.add(next(&mut owed, &cell), 1);
        }
        for (class, cells) in [
            (Class::Zero, 500),
            (Class::Text, 200),
            (Class::Changed, 100),
        ] {
            assert!(shown.of(class).abs_diff(cells) <= 1, "{class:?}: {shown:?}");
        }
        assert_eq!(shown.pages(), 800);
    }

    #[test]
    fn a_square_shows_only_what_is_in_it() {
        let mut owed = [0; Class::ALL.len()];
        let (mostly, all) = (
            census(&[(Class::Zero, 9), (Class::Text, 7)]),
            census(&[(Class::Zero, 16)]),
        );
        for _ in 0..10 {
            next(&mut owed, &mostly);
            assert_eq!(next(&mut owed, &all), Class::Zero);
        }
        assert_eq!(next(&mut owed, &Census::default()), Class::NeverSent);
    }

    #[test]
    fn a_share_is_never_rounded_to_nothing() {
        assert_eq!(share(1, 3), "33.3 %");
        assert_eq!(share(1, 100_000), "< 0.1 %");
        assert_eq!(share(0, 5), "0.0 %");
        assert_eq!(share(0, 0), "-");
    }

    #[test]
    fn text_that_is_too_long_is_cut() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abc...");
        assert_eq!(shortened("abcdefg", 2), "...");
    }
}
