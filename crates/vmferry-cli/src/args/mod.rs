//! The command line: what can be said, and the help for it.

mod convert;
mod diff;
mod export;
mod help;
mod inspect;
mod map;
mod recover;
mod report;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;
use vmferry_store::{CheckpointRef, VmName};

pub use convert::{Convert, Form, ImageFormat};
pub use diff::Diff;
pub use export::{Export, Format};
pub use help::{Completions, Man};
pub use inspect::Inspect;
pub use map::Map;
pub use recover::Recover;
pub use report::Report;
pub use verify::Verify;

use crate::option_list;
use crate::ui::ProgressStyle;

/// Small, verified checkpoints of running QEMU/KVM machines, restored in a blink
#[derive(Debug, Parser)]
#[command(
    name = "vmferry",
    version,
    max_term_width = 100,
    after_help = "The result goes to standard output, everything else to standard error.\n\
        Exit status: 0 done, 1 found damage or a difference, 2 could not do it, 130 or 143 interrupted.\n\
        What is not said here is looked for in VMFERRY_STORE, VMFERRY_PROGRESS, VMFERRY_MODE and\n\
        VMFERRY_STALL_TIMEOUT, then in $XDG_CONFIG_HOME/vmferry/config.toml (store, progress, mode,\n\
        stall-timeout)."
)]
pub struct Cli {
    /// What is the same for all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Under this heading the help lists them.
const EVERYWHERE: &str = "Options of every command";

/// What is the same for all commands.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Where the checkpoints are [default: $XDG_DATA_HOME/vmferry]
    #[arg(
        long,
        global = true,
        env = "VMFERRY_STORE",
        hide_env = true,
        value_name = "DIR",
        help_heading = EVERYWHERE
    )]
    pub store: Option<PathBuf>,
    /// How progress is shown [default: auto]
    #[arg(
        long,
        global = true,
        env = "VMFERRY_PROGRESS",
        hide_env = true,
        value_name = "STYLE",
        help_heading = EVERYWHERE
    )]
    pub progress: Option<ProgressStyle>,
    /// Print the result as JSON
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
}

impl Global {
    /// How progress is shown.
    pub fn progress_style(&self) -> ProgressStyle {
        self.progress.unwrap_or_default()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Save a running machine as a checkpoint
    Save(Save),
    /// Bring a machine back from a checkpoint
    Restore(Restore),
    /// Play a checkpoint to a QEMU that is starting
    Serve(Serve),
    /// Put right what a save that was killed has left in a machine
    Recover(Recover),
    /// List checkpoints
    List(List),
    /// Look into a checkpoint or a saved stream
    Inspect(Inspect),
    /// Draw a picture of a guest's memory
    Map(Map),
    /// Write a page that shows all that is in a saved state
    Report(Report),
    /// Prove that a checkpoint or a saved stream is whole
    Verify(Verify),
    /// Write a saved machine's memory for other tools: gdb, makedumpfile, Volatility
    Export(Export),
    /// Tell what changed between two saved states
    Diff(Diff),
    /// Write a saved machine in another form
    Convert(Convert),
    /// Delete checkpoints
    Delete(Delete),
    /// Print completions for a shell
    Completions(Completions),
    /// Print a manual page
    Man(Man),
    /// Hold on to a guest while it is being saved (started by 'save')
    #[command(name = crate::guardian::COMMAND, hide = true)]
    Guardian,
}

/// Save a running machine as a checkpoint
#[derive(Debug, Args)]
#[command(
    after_help = "The machine's memory and devices are saved, not its disks: a checkpoint fits only the disk \
        contents of its moment. A save never harms the guest: if it fails or is killed, the guest runs on.",
    after_long_help = "The machine's memory and devices are saved, not its disks: a checkpoint fits only the \
disk contents of its moment. A save never harms the guest: if it fails or is killed, the guest runs on.

Examples:
  Save a machine that was started with '-qmp unix:/run/web.qmp,server=on,wait=off':
      vmferry save web --qmp unix:/run/web.qmp

  Save from any monitor, without a QMP socket. QEMU ignores the exit status of the command and goes
  on before the checkpoint is on disk: 'vmferry list web' tells whether it is there.
      (qemu) migrate_set_capability background-snapshot on
      (qemu) migrate -d \"exec:vmferry save web --stdin; cat >/dev/null\"
  The 'cat' reads on if vmferry is killed: QEMU 7.2 stops a guest for ever whose snapshot loses its
  reader."
)]
pub struct Save {
    /// The name under which the checkpoint is kept
    pub vm: VmName,
    #[command(flatten)]
    /// Where the machine comes from.
    pub from: SaveFrom,
    /// How the machine is saved [default: snapshot]
    #[arg(long, value_enum, conflicts_with = "stdin")]
    pub mode: Option<Mode>,
    /// What a snapshot goes through [default: memory]
    #[arg(long, value_enum, conflicts_with = "stdin")]
    pub channel: Option<SnapshotChannel>,
    /// End the save when the store has taken nothing for so many seconds [default: 10]; a guest that
    /// writes stands still meanwhile
    #[arg(long, value_name = "SECONDS", env = "VMFERRY_STALL_TIMEOUT", hide_env = true, value_parser = seconds)]
    pub stall_timeout: Option<Duration>,
    /// Standard input is a lifeline, and the stream comes on it.
    #[arg(long, hide = true, requires = "stdin")]
    pub guarded: bool,
}

/// Where a machine comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SaveFrom {
    /// The machine's QMP socket
    #[arg(long, value_name = "unix:SOCKET", value_parser = unix_path)]
    pub qmp: Option<PathBuf>,
    /// Read the stream from standard input, as the command of QEMU's 'migrate "exec:…"'
    #[arg(long)]
    pub stdin: bool,
}

impl Save {
    /// How long the store may take nothing.
    pub fn stall_timeout(&self) -> Duration {
        self.stall_timeout.unwrap_or(Duration::from_secs(10))
    }
}

/// How a machine is saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// QEMU's background snapshot: a pause of milliseconds, then the guest runs on while its memory of
    /// that instant is saved. A guest that is paused already is saved as with 'stop'
    #[default]
    Snapshot,
    /// The guest stands still until all of it has been read
    Stop,
    /// Ordinary precopy: the guest runs while its memory is copied, again and again where it changes,
    /// and stands still for the last of it
    Live,
    /// 'snapshot' where QEMU can do it, else 'stop'
    Auto,
}

/// What a snapshot goes through on its way from QEMU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum SnapshotChannel {
    /// A file in memory, which QEMU can fill without a reader: nothing that happens to the save can stop
    /// the guest. It takes some 128 MiB; if both processes of the save are killed, as much as the guest has in
    /// use, until QEMU is through. QEMU's own memory limit counts it
    #[default]
    Memory,
    /// A socket: it takes no memory. QEMU 7.2 stops the guest for ever if both processes of the save are
    /// killed
    Socket,
}

/// Bring a machine back from a checkpoint
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  Into a QEMU that you start yourself, with the same machine and '-incoming defer':
      qemu-system-x86_64 -machine q35 … -incoming defer -qmp unix:/run/web.qmp,server=on,wait=off &
      vmferry restore web --lazy --qmp unix:/run/web.qmp

  Let vmferry start it (no shell is involved, and '-incoming' and a monitor are added):
      vmferry restore web@latest --lazy -- qemu-system-x86_64 -machine q35 …

  Show the command line that the checkpoint recorded, and run it:
      vmferry restore web
      vmferry restore web --trust-recorded")]
pub struct Restore {
    /// The checkpoint: 'vm', 'vm@latest', or 'vm@' and (the beginning of) an id
    #[arg(value_name = "VM[@ID]")]
    pub checkpoint: CheckpointRef,
    /// Let the guest run at once, and bring its memory as it is touched
    #[arg(long)]
    pub lazy: bool,
    /// Leave the guest paused, whatever it was when it was saved
    #[arg(long)]
    pub paused: bool,
    /// The QMP socket of a QEMU that waits with '-incoming defer'
    #[arg(long, value_name = "unix:SOCKET", value_parser = unix_path)]
    pub qmp: Option<PathBuf>,
    /// Run the command line that the checkpoint recorded. Whoever could write to the store decides
    /// what that runs
    #[arg(long, conflicts_with_all = ["qmp", "command"])]
    pub trust_recorded: bool,
    /// The QEMU to start
    #[arg(last = true, value_name = "QEMU", conflicts_with = "qmp")]
    pub command: Vec<String>,
}

/// Play a checkpoint to a QEMU that is starting
#[derive(Debug, Args)]
#[command(
    after_help = "For 'qemu-system-x86_64 … -incoming \"exec:vmferry serve VM@ID\"'; with --lazy, add \
        '-global migration.x-postcopy-ram=on'."
)]
pub struct Serve {
    /// The checkpoint: 'vm', 'vm@latest', or 'vm@' and (the beginning of) an id
    #[arg(value_name = "VM[@ID]")]
    pub checkpoint: CheckpointRef,
    /// Let the guest run at once, and bring its memory as it is touched
    #[arg(long)]
    pub lazy: bool,
    /// Host pages behind a RAM block of the new machine, if they are not ordinary ones: 'mem0=2M'
    #[arg(long, value_name = "BLOCK=SIZE", value_parser = block_size, requires = "lazy")]
    pub host_page_size: Vec<(String, u64)>,
}

/// List checkpoints
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  All of them, and those of one machine:
      vmferry list
      vmferry list web

  The newest one's id, for a script:
      vmferry list web --json | jq -r '.checkpoints[-1].id'")]
pub struct List {
    /// Only those of this machine
    pub vm: Option<VmName>,
}

/// Delete checkpoints
#[derive(Debug, Args)]
#[command(after_long_help = "One that is being restored from is not deleted.

Examples:
  The newest one, and one by the beginning of its id:
      vmferry delete web@latest
      vmferry delete web@20261126T08")]
pub struct Delete {
    /// The checkpoints: 'vm@latest', or 'vm@' and (the beginning of) an id
    #[arg(value_name = "VM@ID", required = true, value_parser = whole_reference)]
    pub checkpoints: Vec<CheckpointRef>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok();
    number
        .and_then(patience)
        .ok_or_else(|| PATIENCE_EXPECTED.into())
}

/// What is said of a time that is no patience.
pub(crate) const PATIENCE_EXPECTED: &str = "a number of seconds from 0.1 to 86400 is expected";

/// Seconds, if so many make sense.
pub(crate) fn patience(seconds: f64) -> Option<Duration> {
    (0.1..=86_400.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// QEMU's way of naming a socket; a bare path is understood too.
fn unix_path(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    let transport = text.split_once(':').map(|(transport, _)| transport);
    if let Some(other @ ("tcp" | "telnet" | "fd" | "vsock" | "inet")) = transport {
        return Err(format!(
            "'{other}:' is not spoken here: give the machine a '-qmp unix:SOCKET,server=on,wait=off'"
        ));
    }
    if path == text && std::path::Path::new(text).exists() {
        return Ok(text.into());
    }
    let mut parts = option_list::parts(path).into_iter();
    let path = parts.next().unwrap_or_default();
    if path.is_empty() {
        return Err("a path is expected: unix:/run/vm.qmp".into());
    }
    let means_something = |option: &String| {
        option.is_empty() || option.starts_with("server") || option.starts_with("wait")
    };
    match parts.find(|option| !means_something(option)) {
        None => Ok(path.into()),
        Some(option) => Err(format!(
            "the socket is connected to as it is: '{option}' means nothing here (a comma in its path \
             is written as ',,')"
        )),
    }
}

fn block_size(text: &str) -> Result<(String, u64), String> {
    let expected = "BLOCK=SIZE is expected, with a power of two: mem0=2M";
    let (block, size) = text.rsplit_once('=').ok_or(expected)?;
    let (number, unit) = match size.strip_suffix(['K', 'M', 'G']) {
        Some(number) => (number, &size[number.len()..]),
        None => (size, ""),
    };
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => 0,
    };
    let number: u64 = number.parse().map_err(|_| expected)?;
    let size = number
        .checked_mul(1 << shift)
        .filter(|size| size.is_power_of_two() && *size >= 4096);
    Ok((block.to_owned(), size.ok_or(expected)?))
}

/// A checkpoint is deleted only if it was named, not because it happens to be the last.
fn whole_reference(text: &str) -> Result<CheckpointRef, String> {
    if !text.contains('@') {
        return Err(format!(
            "which one? say '{text}@latest', or '{text}@' and its id"
        ));
    }
    text.parse()
        .map_err(|error: vmferry_store::NameError| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_socket_is_named_as_qemu_names_it() {
        assert_eq!(unix_path("unix:/a").unwrap(), PathBuf::from("/a"));
        assert_eq!(unix_path("/a").unwrap(), PathBuf::from("/a"));
        assert_eq!(
            unix_path("unix:/a,server=on,wait=off").unwrap(),
            PathBuf::from("/a")
        );
        assert_eq!(
            unix_path("unix:/a,,b,server").unwrap(),
            PathBuf::from("/a,b")
        );
        assert!(
            unix_path("unix:/a,tls-creds=x")
                .unwrap_err()
                .contains("',,'")
        );
        assert!(unix_path("unix:").is_err());
        assert!(unix_path("tcp:localhost:4444").is_err());
        assert_eq!(
            unix_path("/run/a:b.qmp").unwrap(),
            PathBuf::from("/run/a:b.qmp")
        );
    }

    #[test]
    fn the_host_pages_of_a_block_are_a_power_of_two() {
        assert_eq!(block_size("mem0=2M").unwrap(), ("mem0".into(), 2 << 20));
        assert_eq!(block_size("a=b=4096").unwrap(), ("a=b".into(), 4096));
        for wrong in [
            "mem0",
            "mem0=",
            "mem0=3M",
            "mem0=1K",
            "mem0=2T",
            "mem0=99999999999999G",
        ] {
            assert!(block_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_machine_comes_from_one_place() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["vmferry"], words].concat());
        assert!(parse(&["save", "web"]).is_err());
        assert!(parse(&["save", "web", "--stdin", "--qmp", "unix:/a"]).is_err());
        assert!(parse(&["save", "web", "--stdin", "--mode", "live"]).is_err());
        assert!(parse(&["save", "web", "--qmp", "unix:/a", "--mode", "live"]).is_ok());
        assert!(parse(&["delete", "web"]).is_err());
        assert!(parse(&["restore", "web", "--lazy", "--", "qemu", "-S"]).is_ok());
        assert!(parse(&["restore", "web", "--qmp", "unix:/a", "--", "qemu"]).is_err());
    }
}
