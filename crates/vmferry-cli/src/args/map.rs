//! The arguments of `vmferry map`.

use std::path::PathBuf;

use clap::Args;

/// Draw a picture of a guest's memory
#[derive(Debug, Args)]
#[command(
    after_help = "The picture is a PNG: each square is a page or several, from left to right and from top to bottom, \
        and its colour says what they hold. Where a square stands for several pages that are not alike, squares of \
        their colours take turns.",
    after_long_help = "The picture is a PNG: each square is a page or several, from left to right and from top to \
bottom, and its colour says what they hold: zero, text-like, compressible, incompressible, or never sent. Where a \
square stands for several pages that are not alike, squares of their colours take turns, each as often as it has \
pages, so that areas are shares.

Examples:
  A picture of a checkpoint, and one of a saved file:
      vmferry map web -o ram.png
      vmferry map /var/tmp/guest.state -o ram.png

  What has changed from one checkpoint to the next:
      vmferry map web@latest --against web@2026 -o changed.png

  One block alone, in a large picture:
      vmferry map web --block 0000:00:02.0/vga.vram --width 2400 -o vram.png"
)]
pub struct Map {
    /// A file with a saved state ('-' for standard input), or a checkpoint: 'vm', 'vm@id'
    #[arg(value_name = "FILE|VM[@ID]")]
    pub what: String,
    /// Where the picture goes
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Show which pages are not what they are in this file or checkpoint
    #[arg(long, value_name = "FILE|VM[@ID]")]
    pub against: Option<String>,
    /// The width of the picture, in pixels, at most
    #[arg(long, value_name = "PIXELS", default_value_t = 1200, value_parser = clap::value_parser!(u32).range(400..=4096))]
    pub width: u32,
    /// Show only this RAM block
    #[arg(long, value_name = "NAME")]
    pub block: Option<String>,
    /// Replace the file, if it is there
    #[arg(long)]
    pub force: bool,
    /// Take what can be taken of a damaged or cut file, and say what was assumed
    #[arg(long)]
    pub rescue: bool,
}
