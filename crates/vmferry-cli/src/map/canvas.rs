//! A picture of few colours, and its PNG.

use anyhow::{Context, Result};
use font8x8::legacy::BASIC_LEGACY;
use png::{BitDepth, ColorType, Compression, Encoder};

use super::class::Class;

/// A colour by its number in the palette.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(u8);

impl Colour {
    /// What is drawn upon.
    pub const PAPER: Self = Self(0);
    /// What is written with.
    pub const INK: Self = Self(1);
    /// Lines and what is said besides.
    pub const FAINT: Self = Self(2);

    /// The colour of a class.
    pub fn of(class: Class) -> Self {
        Self(3 + class as u8)
    }
}

/// Each of another brightness, so that they can be told apart without colour: by those who do not see it, and
/// in print. The hues are a yellow, a blue and a red that stay different in all kinds of colour-blindness.
const OPAQUE: [([u8; 3], u8); 9] = [
    ([255, 255, 255], 255),
    ([17, 24, 39], 255),
    ([107, 114, 128], 255),
    ([255, 255, 255], 255), // never sent: hatched with the next
    ([222, 226, 232], 255), // zero
    ([233, 190, 40], 255),  // text-like
    ([62, 150, 193], 255),  // compressible
    ([22, 36, 92], 255),    // incompressible
    ([206, 66, 20], 255),   // changed
];

/// On a page of either brightness: what is empty lets it through.
const TRANSPARENT: [([u8; 3], u8); 9] = {
    let mut palette = OPAQUE;
    palette[0].1 = 0;
    palette[3].1 = 0;
    palette[4] = ([128, 138, 154], 72);
    palette
};

/// Whether what is empty has a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    /// It is white.
    White,
    /// It is what the picture lies on.
    Clear,
}

/// A picture.
#[derive(Debug, Clone)]
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    /// An empty one.
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![0; width.saturating_mul(height)],
        }
    }

    /// Pixels from left to right.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> usize {
        self.height
    }

    fn dot(&mut self, x: usize, y: usize, colour: Colour) {
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = colour.0;
        }
    }

    /// Fills a rectangle; what lies outside is left out.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        let right = self.width.min(x.saturating_add(width));
        for y in y..self.height.min(y.saturating_add(height)) {
            if let Some(row) = self
                .pixels
                .get_mut(y * self.width + x..y * self.width + right)
            {
                row.fill(colour.0);
            }
        }
    }

    /// Fills a rectangle with a class: what was never sent is hatched, so that it is no white gap.
    pub fn class(&mut self, x: usize, y: usize, width: usize, height: usize, class: Class) {
        self.fill(x, y, width, height, Colour::of(class));
        if class == Class::NeverSent {
            for y in y..y.saturating_add(height) {
                for x in (x..x.saturating_add(width)).filter(|x| (x + y) % HATCH == 0) {
                    self.dot(x, y, Colour::of(Class::Zero));
                }
            }
        }
    }

    /// The outline of a rectangle.
    pub fn frame(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        self.fill(x, y, width, 1, colour);
        self.fill(x, y + height.saturating_sub(1), width, 1, colour);
        self.fill(x, y, 1, height, colour);
        self.fill(x + width.saturating_sub(1), y, 1, height, colour);
    }

    /// Writes a line of text; what is not in ASCII becomes a question mark.
    pub fn text(&mut self, x: usize, y: usize, size: usize, text: &str, colour: Colour) {
        for (at, c) in text.chars().enumerate() {
            let code = u32::from(c) as usize;
            let glyph = match c {
                ' '..='~' => BASIC_LEGACY.get(code),
                _ => BASIC_LEGACY.get(usize::from(b'?')),
            };
            let left = x + at * GLYPH * size;
            for (row, bits) in glyph.into_iter().flatten().enumerate() {
                for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                    let (x, y) = (left + column * size, y + row * size);
                    self.fill(x, y, size, size, colour);
                }
            }
        }
    }

    /// The picture as a PNG.
    ///
    /// # Errors
    /// It is larger than a PNG can be.
    pub fn png(&self, paper: Paper) -> Result<Vec<u8>> {
        let side = |pixels| u32::try_from(pixels).context("the picture is too large");
        let palette = match paper {
            Paper::White => OPAQUE,
            Paper::Clear => TRANSPARENT,
        };
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, side(self.width)?, side(self.height)?);
        encoder.set_color(ColorType::Indexed);
        encoder.set_depth(BitDepth::Four);
        encoder.set_compression(Compression::High);
        encoder.set_palette(palette.map(|(colour, _)| colour).concat());
        if paper == Paper::Clear {
            encoder.set_trns(palette.map(|(_, opacity)| opacity).to_vec());
        }
        let mut writer = encoder.write_header()?;
        // Two pixels in a byte; each row begins with a byte of its own.
        let rows = self.pixels.chunks(self.width.max(1));
        let packed: Vec<u8> = rows
            .flat_map(|row| row.chunks(2))
            .map(|pair| match pair {
                [left, right] => left << 4 | right,
                [left] => left << 4,
                _ => 0,
            })
            .collect();
        writer.write_image_data(&packed)?;
        writer.finish()?;
        Ok(out)
    }
}

/// The side of a letter, in pixels, at size 1.
pub(super) const GLYPH: usize = 8;

/// One pixel in so many is dark where nothing was sent.
const HATCH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(png: &[u8]) -> (png::OutputInfo, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info, pixels)
    }

    #[test]
    fn a_picture_is_a_png_of_its_size_with_its_pixels() {
        let mut canvas = Canvas::new(5, 3);
        canvas.fill(1, 1, 2, 1, Colour::INK);
        canvas.class(4, 0, 9, 9, Class::Changed);
        let (info, pixels) = decoded(&canvas.png(Paper::White).unwrap());
        assert_eq!((info.width, info.height), (5, 3));
        // Rows of two pixels in a byte.
        assert_eq!(pixels, [0, 0, 0x80, 0x01, 0x10, 0x80, 0, 0, 0x80]);
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let mut canvas = Canvas::new(4, 4);
        canvas.text(2, 2, 3, "M\u{e4}\u{0}", Colour::INK);
        canvas.fill(9, 9, 5, 5, Colour::INK);
        canvas.frame(0, 0, 40, 40, Colour::FAINT);
        canvas.class(3, 3, 20, 20, Class::NeverSent);
        canvas.fill(0, 2, usize::MAX, usize::MAX, Colour::INK);
        assert_eq!(decoded(&canvas.png(Paper::Clear).unwrap()).1.len(), 8);
    }

    #[test]
    fn every_class_has_a_brightness_of_its_own() {
        let light = |([r, g, b], _): &([u8; 3], u8)| {
            let linear = |part: u8| (f64::from(part) / 255.0).powf(2.2);
            0.2126 * linear(*r) + 0.7152 * linear(*g) + 0.0722 * linear(*b)
        };
        let mut lights: Vec<f64> = OPAQUE[3..].iter().map(light).collect();
        lights.sort_by(f64::total_cmp);
        for pair in lights.windows(2) {
            // As WCAG has it for parts of a drawing that touch, if less strictly.
            let contrast = (pair[1] + 0.05) / (pair[0] + 0.05);
            assert!(contrast > 1.2, "{lights:?}");
        }
    }
}
