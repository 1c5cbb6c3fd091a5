//! Arguments of `vmferry recover`.

use std::path::PathBuf;

use clap::Args;

use super::unix_path;

/// Put right what a save that was killed has left in a machine
#[derive(Debug, Args)]
#[command(
    after_help = "A save that fails, or is killed, puts everything back by itself; its guardian does it if it cannot. \
        This is for the case that both were killed, for example with their cgroup. The next save of the machine does the same.",
    after_long_help = "A save that fails, or is killed, puts everything back by itself; its guardian does it if it cannot.
This is for the case that both were killed, for example with their cgroup. The next save of the machine
does the same.

What a save changes in a machine is noted in a folder first: $VMFERRY_RUNTIME_DIR, else /run/vmferry/saves
for root and $XDG_STATE_HOME/vmferry/saves for others. So run this as the same user.

The guest is let go on only where the save has stopped it. Settings that were changed by others since are
left as they are.

Examples:
  One machine:
      vmferry recover --qmp unix:/run/web.qmp

  All machines with an unfinished save:
      vmferry recover"
)]
pub struct Recover {
    /// The machine's QMP socket [default: all machines that have an unfinished save]
    #[arg(long, value_name = "unix:SOCKET", value_parser = unix_path)]
    pub qmp: Option<PathBuf>,
}
