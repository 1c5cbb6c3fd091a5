//! QEMU's format, and the program's look into it, beside what the same bytes cost elsewhere.
//!
//! `./x bench --bench format -- [load] [look] [volatility] [zero] [xbzrle] [multifd] [--rounds N] [--stream FILE]
//! [--out DIR] [--quick]`
//!
//! `load` and `look` take a stream that a real QEMU wrote of a guest with 3 GB in use, or that of `--stream`. What
//! `look` writes goes to `--out`, a folder (else a temporary one). Each line says what it means.

mod load;
mod look;
mod multifd;
mod state;
mod volatility;
mod xbzrle;
mod zero;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What was asked for.
struct Wanted {
    parts: Vec<String>,
    rounds: usize,
    stream: Option<PathBuf>,
    out: Option<PathBuf>,
    /// A small guest, for a look at whether all of it works.
    quick: bool,
}

const PARTS: [&str; 6] = ["zero", "xbzrle", "multifd", "load", "look", "volatility"];

fn wanted() -> Result<Wanted> {
    let mut wanted = Wanted {
        parts: Vec::new(),
        rounds: 5,
        stream: None,
        out: None,
        quick: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} of what?"));
        match word.as_str() {
            // What `cargo bench` adds.
            "--bench" => {}
            "--quick" => wanted.quick = true,
            "--rounds" => wanted.rounds = value()?.parse().context("a number of rounds")?,
            "--stream" => wanted.stream = Some(value()?.into()),
            "--out" => wanted.out = Some(value()?.into()),
            part if PARTS.contains(&part) => wanted.parts.push(word),
            _ => bail!(
                "'{word}' is no part of this benchmark: {}",
                PARTS.join(", ")
            ),
        }
    }
    Ok(wanted)
}

/// Seconds that it takes.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn main() -> Result<()> {
    let wanted = wanted()?;
    let has = |part: &str| wanted.parts.is_empty() || wanted.parts.iter().any(|it| it == part);
    println!("{}", vmferry_benches::describe());
    println!(
        "{} rounds in turns; the median (least to most)",
        wanted.rounds
    );
    if has("zero") {
        zero::run(wanted.rounds)?;
    }
    if has("xbzrle") {
        xbzrle::run(wanted.rounds)?;
    }
    if has("multifd") {
        multifd::run(wanted.rounds)?;
    }
    if has("load") || has("look") {
        let state = state::State::get(&wanted)?;
        if has("load") {
            load::run(&state, wanted.rounds)?;
        }
        if has("look") {
            look::run(&state, &wanted)?;
        }
    }
    if has("volatility") {
        volatility::run(&wanted)?;
    }
    Ok(())
}
