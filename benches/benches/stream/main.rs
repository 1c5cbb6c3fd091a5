//! The operations of the stream, one by one, beside the C original if there is one to run.
//!
//! `cargo bench -p vmferry-benches --bench stream -- [--peer PROGRAM] [--rounds N] [--count N] [CASE…]`
//!
//! Names and definitions are those of the C original's benchmark. The two take turns: for each case,
//! in each round, first one and then the other; each turn is the median of three runs of 20 ms. Cases
//! in memory count the processor time of their thread, those on a socket the time on the wall. A line
//! gives the median of each, and the median of the ratios within the rounds with the interval that holds
//! the true one 95 times of 100: above 1 is faster than the original. A case is *slower* where all of the
//! interval is below 1 and the median below 0.95, and *faster* where all of it is above 1. The peer of
//! `sock/rec64_page_beside_writev` is a bare loop of `writev`.
//!
//! With `--count`, each case is done so often, once, and nothing is measured: for a program that counts
//! what happens within `counted` (instructions, with callgrind), or the system calls of all.

mod case;
mod data;
mod peer;
mod reads;
mod sinks;
mod sources;
mod verdict;
mod writes;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use vmferry_benches::{Figures, describe};

use case::Case;
use data::Data;
use verdict::Verdicts;

fn main() -> Result<()> {
    let mut peer = None;
    let mut rounds = 15;
    let mut count = None;
    let mut only = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // What `cargo bench` adds.
            "--bench" => {}
            "--peer" => peer = Some(PathBuf::from(words.next().context("--peer PROGRAM")?)),
            "--rounds" => rounds = words.next().context("--rounds N")?.parse()?,
            "--count" => count = Some(words.next().context("--count N")?.parse()?),
            option if option.starts_with('-') => {
                bail!("'{option}': --peer PROGRAM, --rounds N, --count N")
            }
            _ => only.push(word),
        }
    }
    case::pin(0);
    let data = Data::new()?;
    let mut cases: Vec<Case<'_>> = writes::cases(&data);
    cases.extend(reads::cases(&data)?);
    if !only.is_empty() {
        cases.retain(|case| only.iter().any(|name| case.name.contains(name.as_str())));
    }
    if let Some(count) = count {
        cases.iter_mut().for_each(|case| case.count(count));
        return Ok(());
    }
    println!("{}; {rounds} rounds", describe());
    println!("case ours-ns peer-ns ratio");
    let mut verdicts = Verdicts::default();
    for case in &mut cases {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        case.calibrate();
        for _ in 0..rounds {
            ours.push(case.measure());
            if let Some(bare) = case.measure_bare() {
                theirs.push(bare);
            } else if let Some(peer) = &peer {
                theirs.push(peer::measure(peer, &case.name)?);
            }
        }
        let ratio = theirs.over(&ours);
        println!(
            "{:<38} {:>10.2} {:>10.2} {}",
            case.name,
            ours.median(),
            theirs.median(),
            verdicts.of(&case.name, &ratio)
        );
    }
    println!("{verdicts}");
    Ok(())
}
