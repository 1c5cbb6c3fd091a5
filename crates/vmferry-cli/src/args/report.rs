//! The arguments of `vmferry report`.

use std::path::PathBuf;

use clap::Args;

/// Write a page that shows all that is in a saved state
#[derive(Debug, Args)]
#[command(
    after_help = "The page is one file of HTML, for any browser, with or without a network: what the state is, a picture \
        of its memory, its sections by size, and all values of all devices, to be searched.",
    after_long_help = "The page is one file of HTML, for any browser, with or without a network. It shows what the \
state is, what is to be known about it, a picture of its memory, its RAM blocks, its sections by size, and all values of \
all devices as a tree to be searched. Nothing in it is fetched from elsewhere.

It holds what the state holds: whoever reads it may find secrets in registers and buffers of devices.

Examples:
  A page about a checkpoint, and one about a saved file:
      vmferry report web -o report.html
      vmferry report /var/tmp/guest.state -o report.html

  With the pages of memory that have changed since another checkpoint:
      vmferry report web@latest --against web@2026 -o report.html"
)]
pub struct Report {
    /// A file with a saved state ('-' for standard input), or a checkpoint: 'vm', 'vm@id'
    #[arg(value_name = "FILE|VM[@ID]")]
    pub what: String,
    /// Where the page goes
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Show which pages of memory are not what they are in this file or checkpoint
    #[arg(long, value_name = "FILE|VM[@ID]")]
    pub against: Option<String>,
    /// Replace the file, if it is there
    #[arg(long)]
    pub force: bool,
    /// Take what can be taken of a damaged or cut file, and say what was assumed
    #[arg(long)]
    pub rescue: bool,
}
