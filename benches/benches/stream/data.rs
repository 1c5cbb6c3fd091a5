//! What is written and read: the same as in the C original's benchmark.

use anyhow::Result;
use vmferry::channel::{RamMapping, RamSlice};

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// Pages of the guest's memory.
pub(super) const PAGES: u64 = 16384;

/// Bytes that a source in memory gives until it begins again.
pub(super) const SOURCE: usize = 1 << 20;

/// The data of all cases.
pub(super) struct Data {
    ram: RamMapping,
    given_back: RamMapping,
    pub(super) small: Vec<u8>,
    pub(super) zero: [u8; PAGE],
    pub(super) text: [u8; PAGE],
    pub(super) random: [u8; PAGE],
    /// A source of anything.
    pub(super) plain: Vec<u8>,
    /// A source of counted strings of six bytes.
    pub(super) strings: Vec<u8>,
}

impl Data {
    pub(super) fn new() -> Result<Self> {
        let ram = filled()?;
        let given_back = filled()?;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let text = random.text();
        let mut noise = [0; PAGE];
        for word in noise.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        let plain = (0..SOURCE / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        let string = *b"\x06pc.ram";
        Ok(Self {
            ram,
            given_back,
            small: (0..65536_u32).map(|i| i.to_le_bytes()[0]).collect(),
            zero: [0; PAGE],
            text,
            random: noise,
            plain,
            strings: string
                .iter()
                .copied()
                .cycle()
                .take(SOURCE / 7 * 7)
                .collect(),
        })
    }

    /// The page `i` of the guest's memory, from the first again behind the last.
    #[inline]
    pub(super) fn page(&self, i: u64) -> RamSlice<'_> {
        page(&self.ram, i)
    }

    /// A page of memory that may be given back.
    #[inline]
    pub(super) fn page_given_back(&self, i: u64) -> RamSlice<'_> {
        page(&self.given_back, i)
    }
}

#[inline]
fn page(ram: &RamMapping, i: u64) -> RamSlice<'_> {
    #[allow(clippy::cast_possible_truncation, reason = "it is below 2^14")]
    let from = (i % PAGES) as usize * PAGE;
    ram.as_ram()
        .subslice(from..from + PAGE)
        .expect("a page of the mapping")
}

/// Memory that is there, on huge pages where the system can.
pub(super) fn filled() -> Result<RamMapping> {
    let mut ram = RamMapping::private(usize::try_from(PAGES)? * PAGE)?;
    ram.prefer_huge_pages()?;
    let mut rest = ram.as_ram_mut();
    let mut page = [1; PAGE];
    for i in 0..PAGES {
        page[8] = i.to_le_bytes()[0] | 1;
        rest.skip(usize::try_from(i)? * PAGE).copy_from(&page);
    }
    Ok(ram)
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn text(&mut self) -> [u8; PAGE] {
        const WORDS: [&str; 16] = [
            "the", "page", "of", "guest", "memory", "stream", "buffer", "vector", "offset",
            "length", "block", "is", "sent", "and", "then", "device",
        ];
        let mut text = Vec::with_capacity(PAGE + 8);
        while text.len() < PAGE {
            let word = usize::try_from(self.next() >> 60).unwrap_or(0);
            text.extend_from_slice(WORDS[word].as_bytes());
            text.push(b' ');
        }
        let mut page = [0; PAGE];
        page.copy_from_slice(&text[..PAGE]);
        page
    }
}
