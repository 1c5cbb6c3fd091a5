//! `vmferry diff`.

use clap::Args;

/// Tell what changed between two saved states
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 the same, 1 different, 2 could not compare.",
    after_long_help = "Devices are compared value by value, memory page by page. The two may be of any kind: a checkpoint and a \
stream, say. Of two checkpoints in one store, digests tell, and no page is read.

Exit status: 0 the same, 1 different, 2 could not compare.

Examples:
  What an hour of work changed:
      vmferry diff web@20261126T08 web@20261126T09

  Where in the memory:
      vmferry diff before.stream web@latest --pages

  Whether a copy holds the same:
      vmferry diff web.stream copy.stream > /dev/null && echo the same"
)]
pub struct Diff {
    /// A file with a saved state ('-' for standard input), or a checkpoint: 'vm', 'vm@id'
    #[arg(value_name = "OLD")]
    pub old: String,
    /// Another one
    #[arg(value_name = "NEW")]
    pub new: String,
    /// List the pages that differ, too
    #[arg(long, conflicts_with = "no_memory")]
    pub pages: bool,
    /// Compare the devices only
    #[arg(long)]
    pub no_memory: bool,
    /// Take what can be taken of a damaged or cut file, and say what was assumed
    #[arg(long)]
    pub rescue: bool,
}
