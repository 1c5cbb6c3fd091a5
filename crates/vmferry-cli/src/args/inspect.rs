//! `vmferry inspect`.

use clap::Args;

/// Look into a checkpoint or a saved stream
#[derive(Debug, Args)]
#[command(
    after_help = "A stream that is cut or damaged is described as far as it goes, with exit status 1.",
    after_long_help = "A stream that is cut or damaged is described as far as it goes, with exit status 1.

Examples:
  What is in a file, or in what comes through a pipe:
      vmferry inspect web.stream
      ssh host cat web.stream | vmferry inspect -

  The processor's registers in a checkpoint, and the second interrupt controller:
      vmferry inspect web@latest --device cpu
      vmferry inspect web@latest --device i8259:1

  The description of all devices that QEMU wrote behind them:
      vmferry inspect web.stream --raw vmdesc | jq ."
)]
pub struct Inspect {
    /// A file with a migration stream ('-' for standard input), or a checkpoint: 'vm', 'vm@id'
    #[arg(value_name = "FILE|VM[@ID]")]
    pub what: String,
    /// List the devices
    #[arg(long, conflicts_with_all = ["device", "raw"])]
    pub devices: bool,
    /// Show the state of one device, each value with its name
    #[arg(long, value_name = "NAME[:INSTANCE]", conflicts_with = "raw")]
    pub device: Option<String>,
    /// Write the bytes of one device's state to standard output, or those of 'vmdesc', the
    /// description of all of them
    #[arg(long, value_name = "NAME[:INSTANCE]", conflicts_with = "json")]
    pub raw: Option<String>,
}
