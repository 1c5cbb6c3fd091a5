//! The RAM blocks that a machine has, as its monitor lists them.

use vmferry::ram::{RamBlock, RamBlocks};

use crate::qmp::{Client, Result};

/// The RAM blocks of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamListing(Vec<Listed>);

/// A RAM block of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    idstr: String,
    /// Bytes of a host page behind it.
    page_size: u64,
    /// Bytes in use.
    used: u64,
    /// Bytes up to which it can be resized.
    max: u64,
}

impl RamListing {
    /// Asks for it.
    ///
    /// # Errors
    /// The monitor does not answer.
    pub fn query(client: &Client) -> Result<Self> {
        client.human("info ramblock").map(|text| Self::parse(&text))
    }

    /// Lines that are not understood are passed over: the listing is meant for people.
    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(listed).collect())
    }

    fn find(&self, idstr: &str) -> Option<&Listed> {
        self.0.iter().find(|listed| listed.idstr == idstr)
    }

    /// The size in bytes of the host pages behind each of `blocks`; `base` where nothing is known.
    pub fn host_page_sizes(&self, blocks: &RamBlocks, base: u64) -> Vec<u64> {
        let size = |block: &RamBlock| self.find(&block.idstr).map_or(base, |here| here.page_size);
        blocks.iter().map(|(_, block)| size(block)).collect()
    }

    /// A block here that is not among `blocks`, and of this size.
    fn under_another_name(&self, blocks: &RamBlocks, length: u64) -> Option<&str> {
        let mut others = self
            .0
            .iter()
            .filter(|here| blocks.find(&here.idstr).is_none());
        let other = others.find(|here| here.used == length)?;
        Some(&other.idstr)
    }

    /// The first of `blocks` that this machine cannot take, and why.
    pub fn mismatch(&self, blocks: &RamBlocks) -> Option<String> {
        // A listing that is not understood refuses nothing.
        if self.0.is_empty() {
            return None;
        }
        blocks.iter().find_map(|(_, block)| {
            let (idstr, length) = (&block.idstr, block.used_length);
            let Some(here) = self.find(idstr) else {
                return Some(match self.under_another_name(blocks, length) {
                    Some(other) => format!(
                        "the checkpoint has a RAM block '{idstr}', this QEMU has none, but '{other}' of the same \
                         size: if that is a memory backend, give it the id '{idstr}', else start QEMU with the \
                         devices that the machine had, at the same places"
                    ),
                    None => format!(
                        "the checkpoint has a RAM block '{idstr}', this QEMU has none: start it with the devices \
                         that the machine had, at the same places"
                    ),
                });
            };
            // Firmware's tables are resized to what comes.
            let resized = idstr.starts_with("/rom@") && length <= here.max;
            (length != here.used && !resized).then(|| {
                format!(
                    "the RAM block '{idstr}' has {length} bytes in the checkpoint, and {} in this QEMU: \
                     start it with as much memory as the machine had, and with its firmware",
                    here.used
                )
            })
        })
    }
}

/// From a line like `  pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000`.
fn listed(line: &str) -> Option<Listed> {
    let mut words = line.split_whitespace();
    let idstr = words.next()?.to_owned();
    let number: u64 = words.next()?.parse().ok()?;
    let unit = match words.next()? {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let _offset = words.next()?;
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    Some(Listed {
        idstr,
        page_size: number.checked_mul(unit)?,
        used: hex()?,
        max: hex()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "              Block Name    PSize              Offset               Used              Total
                    mem0    2 MiB  0x0000000000000000 0x0000000004000000 0x0000000004000000
                 pc.bios    4 KiB  0x0000000004000000 0x0000000000040000 0x0000000000040000
    /rom@etc/acpi/tables    4 KiB  0x0000000004080000 0x0000000000020000 0x0000000000200000
";

    fn block(idstr: &str, used_length: u64) -> RamBlock {
        RamBlock {
            idstr: idstr.into(),
            used_length,
            host_page_size: None,
        }
    }

    fn mismatch(idstr: &str, length: u64) -> Option<String> {
        let blocks = RamBlocks::from_iter([block(idstr, length)]);
        RamListing::parse(LISTING).mismatch(&blocks)
    }

    #[test]
    fn host_page_sizes_are_read_from_the_listing_of_qemu() {
        let blocks = ["mem0", "mem", "pc.bios"].map(|idstr| block(idstr, 4096));
        let blocks = RamBlocks::from_iter(blocks);
        let sizes = RamListing::parse(LISTING).host_page_sizes(&blocks, 1234);
        assert_eq!(sizes, [2 << 20, 1234, 4096]);
    }

    #[test]
    fn memory_of_another_size_is_refused_where_qemu_would_refuse_it() {
        assert_eq!(mismatch("mem0", 64 << 20), None);
        assert!(mismatch("mem0", 32 << 20).unwrap().contains("67108864"));
        assert!(
            mismatch("vga.vram", 4096)
                .unwrap()
                .contains("has none: start")
        );
        // A backend of another name.
        assert!(
            mismatch("pc.ram", 64 << 20)
                .unwrap()
                .contains("'mem0' of the same size")
        );
        // It is resized.
        assert_eq!(mismatch("/rom@etc/acpi/tables", 0x1000), None);
        assert!(mismatch("/rom@etc/acpi/tables", 0x20_1000).is_some());
    }

    #[test]
    fn a_listing_that_is_not_understood_refuses_nothing() {
        let blocks = RamBlocks::from_iter([block("pc.ram", 4096)]);
        assert_eq!(RamListing::parse("not today").mismatch(&blocks), None);
    }
}
