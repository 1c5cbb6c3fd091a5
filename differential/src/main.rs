//! Runs many programs on the original and on this project's stream: `differential [COUNT] [--seed SEED] [--only C|Rust]`, or those in
//! files: `differential FILE…`.

use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context as _, bail};
use vmferry_differential::{Candidate, Program, Rule, Runner, Uses, shrink};

/// Programs in which every rule has to be used.
const LARGE: u64 = 100_000;

/// Kinds of differences that are shown.
const MOST: usize = 8;

fn main() -> anyhow::Result<ExitCode> {
    let mut count = 100_000_u64;
    let (mut seed, mut only) = (1, None);
    let mut files = Vec::new();
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => seed = arguments.next().context("--seed takes a number")?.parse()?,
            "--only" => only = Some(arguments.next().context("--only takes C or Rust")?),
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => count = number.parse()?,
            flag if flag.starts_with('-') => bail!(
                "usage: differential [COUNT] [--seed SEED] [--only C|Rust], or differential FILE…"
            ),
            file => files.push(file.to_owned()),
        }
    }
    let mut has_failed = false;
    let mut uses = Uses::default();
    for (name, candidate) in [("C", Candidate::C), ("Rust", Candidate::Rust)] {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let mut runner = Runner::new(candidate);
        if files.is_empty() {
            has_failed |= !many(name, &mut runner, seed, count);
            uses.include(&runner.uses);
        }
        for file in &files {
            let text =
                fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
            let program = text
                .parse()
                .with_context(|| format!("{file} is no program"))?;
            match runner.run(&program) {
                Ok(()) => println!("{name}: {file}: the same"),
                Err(difference) => {
                    has_failed = true;
                    println!("{name}: {file}: {difference}");
                }
            }
        }
    }
    for rule in Rule::all() {
        if only.is_none() && files.is_empty() && count >= LARGE && uses.of(rule) == 0 {
            has_failed = true;
            println!("{rule:?} was never used: {}", rule.what());
        }
    }
    Ok(ExitCode::from(u8::from(has_failed)))
}

/// Runs `count` programs, and tells whether all of them came out the same and no rule was left unused.
fn many(name: &str, runner: &mut Runner, seed: u64, count: u64) -> bool {
    let start = Instant::now();
    let mut seen = Vec::new();
    for number in 0..count {
        let program = Program::random(seed, number);
        if runner.run(&program).is_err() {
            let Some((program, difference)) = shrink(runner, &program) else {
                continue;
            };
            // One of a kind is enough.
            let kind: String = difference
                .what
                .chars()
                .filter(|char| !char.is_ascii_digit())
                .collect();
            if !seen.contains(&kind) {
                println!("# {name}, program {number} of seed {seed}: {difference}\n{program}");
                seen.push(kind);
            }
            if seen.len() >= MOST {
                break;
            }
        }
    }
    if !seen.is_empty() {
        return false;
    }
    println!(
        "{name}: {count} programs of seed {seed}, the same, in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    for rule in Rule::all() {
        println!(
            "{:>10} {rule:?} ({}): {}",
            runner.uses.of(rule),
            rule.row(),
            rule.what()
        );
    }
    true
}
