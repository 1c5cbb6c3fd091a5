//! The arguments of `vmferry export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Write a saved machine's memory for other tools
#[derive(Debug, Args)]
#[command(
    after_help = "The file appears whole or not at all, and sparse where the memory is zero. How the addresses \
        were found is told, on standard error and in --json.",
    after_long_help = "The file appears whole or not at all, and sparse where the memory is zero. How the \
addresses were found is told, on standard error and in --json. From 0xa0000 to 0xfffff the processor may \
see the VGA window and ROMs; what is written is the RAM behind them.

Examples:
  A core file for gdb or makedumpfile, with the registers of every vCPU:
      vmferry export web@latest --format elf -o web.core
      gdb vmlinux web.core
      makedumpfile --dump-dmesg web.core web.log    # if it has a device 'vmcoreinfo'

  The guest-physical memory of a libvirt image or a migration stream, for Volatility:
      vmferry export /var/lib/libvirt/qemu/save/web.save --format raw -o web.raw
      vol -f web.raw banners

  A LiME dump through a pipe:
      vmferry export web --format lime -o - | zstd > web.lime.zst

  Each RAM block by itself, with video memory and firmware:
      vmferry export web --format blocks -o web.blocks"
)]
pub struct Export {
    /// A file with a saved machine ('-' for standard input), or a checkpoint: 'vm', 'vm@id'
    #[arg(value_name = "FILE|VM[@ID]")]
    pub what: String,
    /// What is written
    #[arg(long, value_enum)]
    pub format: Format,
    /// Where to ('-' for standard output)
    #[arg(long, short, value_name = "OUT")]
    pub output: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// Take what can be taken of a damaged or cut file, and say what was assumed
    #[arg(long)]
    pub rescue: bool,
    /// How much RAM lies below 4 GiB, where the machine's state does not tell or tells it wrong: '3G'
    #[arg(long, value_name = "SIZE", value_parser = number)]
    pub below_4g: Option<u64>,
    /// The RAM blocks of the main memory, in the order of their addresses: 'mem0,mem1'
    #[arg(long, value_name = "BLOCK", value_delimiter = ',')]
    pub ram: Vec<String>,
    /// Where another RAM block lies: 'dimm0@0x180000000'
    #[arg(long, value_name = "BLOCK@ADDRESS", value_parser = place)]
    pub place: Vec<(String, u64)>,
}

/// What an export writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Guest-physical memory, each byte at its address
    Raw,
    /// An ELF core file: memory, firmware, and the registers of every vCPU, as QEMU's dump-guest-memory
    Elf,
    /// LiME, version 1: ranges of memory with their addresses
    Lime,
    /// A folder with a file for each RAM block
    Blocks,
}

fn number(text: &str) -> Result<u64, String> {
    let expected = "a size or an address is expected: 3G, 2816M, 0x80000000";
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => {
            let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
            let shift = match &text[digits.len()..] {
                "" => Some(0),
                "K" => Some(10),
                "M" => Some(20),
                "G" => Some(30),
                "T" => Some(40),
                _ => None,
            };
            let digits = digits.parse::<u64>().ok();
            digits
                .zip(shift)
                .and_then(|(n, shift)| n.checked_mul(1 << shift))
        }
    };
    number.ok_or_else(|| expected.into())
}

fn place(text: &str) -> Result<(String, u64), String> {
    match text.rsplit_once('@') {
        Some((block, address)) if !block.is_empty() => Ok((block.into(), number(address)?)),
        _ => Err("BLOCK@ADDRESS is expected: dimm0@0x180000000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_addresses_are_written_as_people_write_them() {
        for (text, value) in [
            ("4096", 4096),
            ("3G", 3 << 30),
            ("2816M", 2816 << 20),
            ("0xfffc0000", 0xfffc_0000),
            ("1T", 1 << 40),
            ("64K", 65536),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "G",
            "3GG",
            "3g",
            "-1",
            "0x",
            "0xg",
            "99999999999999G",
            "1.5G",
            "3 G",
        ] {
            assert!(number(text).is_err(), "{text}");
        }
        assert_eq!(place("a@b@1G"), Ok(("a@b".into(), 1 << 30)));
        for text in ["a", "@1", "a@"] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
