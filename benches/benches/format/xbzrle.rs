//! Differences of pages.

use std::hint::black_box;

use anyhow::{Context, Result, bail, ensure};
use lz4_flex::block::{compress_into_with_dict, decompress_into_with_dict};
use vmferry::wire::xbzrle::{self, Encoded};
use vmferry_benches::Figures;

use super::timed;

const PAGE: usize = 4096;
const PAGES: usize = 16 << 10;

/// Pages, and the same pages later.
struct Pages {
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Pages {
    /// Noise, of which `spots` words are changed in each page, and then `run` bytes in one go.
    fn changed(spots: usize, run: usize) -> Self {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let old: Vec<u8> = (0..PAGES * PAGE / 8)
            .flat_map(|_| next().to_le_bytes())
            .collect();
        let mut new = old.clone();
        for page in new.chunks_exact_mut(PAGE) {
            let mut place =
                |len: usize| usize::try_from(next() % 4096).unwrap_or(0).min(PAGE - len);
            for _ in 0..spots {
                let at = place(8);
                page[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0x55);
            }
            let at = place(run);
            page[at..at + run].iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        Self { old, new }
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.old.chunks_exact(PAGE).zip(self.new.chunks_exact(PAGE))
    }
}

pub(super) fn run(rounds: usize) -> Result<()> {
    println!("\n# xbzrle: differences of 64 MiB of pages, GB of pages per second");
    println!(
        "lz4: lz4_flex, each page with what it was as its dictionary; copy: memcpy of the pages"
    );
    for (what, spots, run) in [
        ("2 words changed", 2, 0),
        ("16 words changed", 16, 0),
        ("a run of 500 bytes", 0, 500),
    ] {
        measure(what, &Pages::changed(spots, run), rounds)?;
    }
    Ok(())
}

fn measure(what: &str, pages: &Pages, rounds: usize) -> Result<()> {
    let gb = f64::from(u32::try_from(PAGES * PAGE)?) / 1e9;
    // Written once, so that no page of ours is new to the kernel.
    let mut ours = vec![1; PAGE * PAGES];
    let mut theirs = vec![1; 2 * PAGE * PAGES];
    let (mut our_lens, mut their_lens) = (vec![0; PAGES], vec![0; PAGES]);
    let mut page = vec![0; PAGE];
    let [
        mut encode,
        mut lz4_encode,
        mut decode,
        mut lz4_decode,
        mut copy,
    ] = <[Figures; 5]>::default();
    for _ in 0..rounds {
        encode.push(
            gb / timed(|| {
                let room = ours.chunks_exact_mut(PAGE).zip(&mut our_lens);
                for ((old, new), (out, len)) in pages.iter().zip(room) {
                    *len = match xbzrle::encode(old, new, out) {
                        Encoded::Bytes(len) => len,
                        Encoded::Same => 0,
                        Encoded::Overflow => bail!("a page with too many differences"),
                    };
                }
                Ok(())
            })?,
        );
        lz4_encode.push(
            gb / timed(|| {
                let room = theirs.chunks_exact_mut(2 * PAGE).zip(&mut their_lens);
                for ((old, new), (out, len)) in pages.iter().zip(room) {
                    *len = compress_into_with_dict(new, out, old)?;
                }
                Ok(())
            })?,
        );
        decode.push(
            gb / timed(|| {
                let encoded = ours.chunks_exact(PAGE).zip(&our_lens);
                for ((old, _), (bytes, len)) in pages.iter().zip(encoded) {
                    page.copy_from_slice(old);
                    xbzrle::decode(&bytes[..*len], &mut page)
                        .ok()
                        .context("a damaged page")?;
                    black_box(&page);
                }
                Ok(())
            })?,
        );
        lz4_decode.push(
            gb / timed(|| {
                let encoded = theirs.chunks_exact(2 * PAGE).zip(&their_lens);
                for ((old, _), (bytes, len)) in pages.iter().zip(encoded) {
                    let made = decompress_into_with_dict(&bytes[..*len], &mut page, old)?;
                    ensure!(made == PAGE, "a short page");
                    black_box(&page);
                }
                Ok(())
            })?,
        );
        copy.push(
            gb / timed(|| {
                for (_, new) in pages.iter() {
                    page.copy_from_slice(new);
                    black_box(&page);
                }
                Ok(())
            })?,
        );
    }
    let mean = |lens: &[usize]| lens.iter().sum::<usize>() / PAGES;
    println!(
        "{what}: {} bytes a page; lz4 {}",
        mean(&our_lens),
        mean(&their_lens)
    );
    println!(
        "  encode {encode}   lz4 {lz4_encode}   ours / lz4 {}",
        encode.over(&lz4_encode)
    );
    println!(
        "  decode {decode}   lz4 {lz4_decode}   ours / lz4 {}",
        decode.over(&lz4_decode)
    );
    println!(
        "  copy {copy}   encode / copy {}   decode / copy {}",
        encode.over(&copy),
        decode.over(&copy)
    );
    Ok(())
}
