//! Whether a page is zero.

use std::hint::black_box;

use anyhow::{Result, ensure};
use vmferry::ram::is_zero;
use vmferry_benches::Figures;

use super::timed;

const PAGE: usize = 4096;
/// Beyond every cache.
const BYTES: usize = 512 << 20;

pub(super) fn run(rounds: usize) -> Result<()> {
    println!("\n# zero: is_zero of each page, GB/s, beside a plain read (the sum of all words)");
    let mut memory = vec![1_u8; BYTES];
    // Pages that are told apart by their last byte; and zeros. Both are read to their end.
    for page in memory.chunks_exact_mut(PAGE) {
        page[..PAGE - 1].fill(0);
    }
    measure("pages with one last byte", &memory, rounds)?;
    memory.fill(0);
    measure("zero pages", &memory, rounds)?;
    // As they come from a guest: the first word tells.
    memory.fill(7);
    measure("pages of something else", &memory, rounds)
}

fn measure(what: &str, memory: &[u8], rounds: usize) -> Result<()> {
    let zeros = memory.iter().all(|byte| *byte == 0);
    let (mut ours, mut plain) = <(Figures, Figures)>::default();
    let gb = f64::from(u32::try_from(BYTES)?) / 1e9;
    for _ in 0..rounds {
        plain.push(gb / timed(|| Ok(black_box(sum(memory))))?);
        ours.push(
            gb / timed(|| {
                let found = memory.chunks_exact(PAGE).filter(|page| is_zero(page));
                let wanted = if zeros { BYTES / PAGE } else { 0 };
                ensure!(found.count() == wanted, "the wrong pages");
                Ok(())
            })?,
        );
    }
    let ratio = ours.over(&plain);
    println!("{what:25} ours {ours:.1}   plain read {plain:.1}   ours / plain {ratio}");
    Ok(())
}

/// Four sums side by side, so that it is memory that is waited for.
fn sum(memory: &[u8]) -> u64 {
    let mut sums = [0_u64; 4];
    for words in memory.chunks_exact(32) {
        for (sum, word) in sums.iter_mut().zip(words.chunks_exact(8)) {
            let word = word.first_chunk().copied().unwrap_or_default();
            *sum = sum.wrapping_add(u64::from_le_bytes(word));
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}
