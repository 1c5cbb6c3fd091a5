//! The pattern guest: what it is told, and what its memory and its disk hold.
//!
//! The guest itself is in `tests/guest/pattern`; the functions here are the same as in its
//! `memory.c` and `disk.c`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::cache;

/// Sectors of the disk that the guest reads.
const DISK_SECTORS: u64 = 32 << 10;

/// What the guest does; passed on its kernel command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// Memory to check in MiB; 0 for all above the first.
    pub checked_mib: u32,
    /// Percent of the pages that stay zero for ever.
    pub zero_percent: u32,
    /// Percent of the pages that hold letters, of which zstd makes some two fifths.
    pub text_percent: u32,
    /// Percent of the pages that every pass rewrites; the others are only checked.
    pub rewrite_percent: u32,
    /// How much is checked in a second, in MiB; 0 for as much as possible.
    pub mib_per_second: u32,
    /// Milliseconds from one heartbeat to the next, in tens.
    pub heartbeat_ticks: u32,
    /// Whether it reads and checks its disk.
    pub disk: bool,
}

impl Default for Pattern {
    fn default() -> Self {
        Self {
            checked_mib: 0,
            zero_percent: 20,
            text_percent: 40,
            rewrite_percent: 100,
            mib_per_second: 0,
            heartbeat_ticks: 10,
            disk: true,
        }
    }
}

impl Pattern {
    /// The kernel command line.
    pub(crate) fn arguments(&self, cpus: u32) -> String {
        format!(
            "cpus={cpus} mem={} zero={} text={} rewrite={} rate={} hb={} disk={}",
            self.checked_mib,
            self.zero_percent,
            self.text_percent,
            self.rewrite_percent,
            self.mib_per_second,
            self.heartbeat_ticks,
            if self.disk { DISK_SECTORS } else { 0 },
        )
    }
}

/// The guest as a file for `-kernel`, in the cache: a recorded command line must find it later, too.
///
/// # Errors
/// The cache cannot be written.
pub fn kernel() -> Result<PathBuf> {
    let elf = include_bytes!(concat!(env!("OUT_DIR"), "/pattern.elf"));
    let name = format!("pattern-{:016x}", sum(elf));
    let entry = cache::entry(&name, |partial| {
        Ok(std::fs::write(partial.join("guest.elf"), elf)?)
    })?;
    Ok(entry.join("guest.elf"))
}

/// The image of the disk that the guest reads. It is never written, so all guests share it.
///
/// # Errors
/// The cache cannot be written.
pub fn disk() -> Result<PathBuf> {
    let entry = cache::entry("disk-v1", |partial| write_disk(&partial.join("disk.raw")))?;
    Ok(entry.join("disk.raw"))
}

fn write_disk(path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for word in 0..DISK_SECTORS * 64 {
        file.write_all(&mix(0x6469_736b_0000_0000 + word).to_le_bytes())?;
    }
    Ok(file
        .into_inner()
        .map_err(|error| anyhow!("{error}"))?
        .sync_all()?)
}

/// The guest's hash of one word.
pub fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    word ^ (word >> 29)
}

/// The page of noise that pass `generation` leaves at a guest-physical address.
pub fn noise_page(address: u64, generation: u64) -> Vec<u8> {
    let words = (0..512).map(|i| mix((address + 8 * i).wrapping_add(generation << 40)));
    words.flat_map(u64::to_le_bytes).collect()
}

/// The page of letters that pass `generation` leaves at a guest-physical address.
pub fn text_page(address: u64, generation: u64) -> Vec<u8> {
    let noise = noise_page(address, generation);
    noise.into_iter().map(|byte| (byte & 7) + b'a').collect()
}

/// Names an entry of the cache after what is in it.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.iter().map(|byte| u64::from(*byte));
    words.fold(bytes.len() as u64, |sum, byte| mix(sum ^ byte))
}

/// What a line of the guest's says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// All memory has been filled.
    Filled,
    /// A whole pass found everything as it was left.
    Pass(u64),
    /// The timer goes on.
    Heartbeat(u64),
    /// Something is not as it was left; the guest stands still.
    Bad(String),
    /// Anything else.
    Other,
}

impl Report {
    /// Reads a line.
    pub fn parse(line: &str) -> Self {
        let number = |text: &str| text.parse().ok();
        if let Some(what) = line.strip_prefix("BAD ") {
            return Self::Bad(what.to_owned());
        }
        if let Some(pass) = line
            .strip_prefix("PASS ")
            .and_then(|r| number(r.strip_suffix(" OK")?))
        {
            return Self::Pass(pass);
        }
        if let Some(ticks) = line.strip_prefix("HB ").and_then(number) {
            return Self::Heartbeat(ticks);
        }
        match line {
            "FILLED" => Self::Filled,
            _ => Self::Other,
        }
    }
}
