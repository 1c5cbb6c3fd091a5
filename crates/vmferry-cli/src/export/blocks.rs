//! A file for each RAM block, under a name that every file system takes.

use vmferry::ram::RamBlocks;

use super::{Extent, Plan};

/// Names of files, and what they hold.
pub fn plans(blocks: &RamBlocks) -> Vec<(String, Plan)> {
    let plan = |(block, ram): (_, &vmferry::ram::RamBlock)| {
        let plan = Plan {
            texts: Vec::new(),
            extents: vec![Extent {
                at: 0,
                block,
                offset: 0,
                len: ram.used_length,
            }],
            len: ram.used_length,
        };
        (file_name(&ram.idstr), plan)
    };
    blocks.iter().map(plan).collect()
}

/// As in a URL, so that different blocks have different names: `%2f` for a slash. Names that are too long
/// for a file are cut, and get a sum of the whole.
fn file_name(idstr: &str) -> String {
    const LONGEST: usize = 200;
    let mut name = String::new();
    for (at, byte) in idstr.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b':' => name.push(byte.into()),
            b'.' if at > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST);
        let sum = idstr.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        name.push_str(&format!("%{sum:016x}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gets_a_file_name_that_is_safe_and_its_own() {
        for (idstr, name) in [
            ("pc.ram", "pc.ram"),
            ("0000:00:02.0/vga.vram", "0000:00:02.0%2fvga.vram"),
            ("/rom@etc/acpi/tables", "%2from%40etc%2facpi%2ftables"),
            ("..", "%2e."),
            (".", "%2e"),
            ("a\0%\n", "a%00%25%0a"),
            ("é", "%c3%a9"),
        ] {
            assert_eq!(file_name(idstr), name);
        }
        let long = |last: &str| file_name(&["/".repeat(254), last.into()].concat());
        assert_ne!(long("a"), long("b"));
        assert!(long("a").len() < 256);
    }
}
