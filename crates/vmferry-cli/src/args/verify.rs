//! `vmferry verify`.

use clap::Args;

/// Prove that a checkpoint or a saved stream is whole
#[derive(Debug, Args)]
#[command(
    after_help = "Says what was proven, and what could not be. Exit status: 0 sound, 1 damaged, 2 could not look.",
    after_long_help = "Says what was proven, and what could not be. Exit status: 0 sound, 1 damaged, 2 could not look.

A checkpoint has digests of everything that is in it. A stream has none: its structure is read to its last
byte, and each value of each device is held against the description that QEMU wrote behind them.

Examples:
      vmferry verify web@latest
      vmferry verify web.stream && rm web.stream.old
      vmferry verify web --quick --json | jq .damages"
)]
pub struct Verify {
    /// A file with a migration stream ('-' for standard input), or a checkpoint: 'vm', 'vm@id'
    #[arg(value_name = "FILE|VM[@ID]")]
    pub what: String,
    /// Leave the pages of a checkpoint unread (a stream is read whole all the same)
    #[arg(long)]
    pub quick: bool,
}
