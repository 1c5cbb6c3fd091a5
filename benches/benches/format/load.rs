//! A whole pass over a stream.

use std::convert::Infallible;
use std::fs::File;
use std::hint::black_box;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use vmferry::channel;
use vmferry::index::Index;
use vmferry::load::{Options, Origin, Visitor, load};
use vmferry::ram::{BlockIndex, Page, PageIndex};
use vmferry::stream::Reader;
use vmferry_benches::Figures;

use super::state::State;
use super::timed;

pub(super) fn run(state: &State, rounds: usize) -> Result<()> {
    println!("\n# load: all of a stream, s; the goal is 1.3 x cat");
    println!(
        "pass: a visitor that keeps nothing; index: Index::open, which can then be asked for any page"
    );
    let (mut pass, mut index, mut cat) = <(Figures, Figures, Figures)>::default();
    for _ in 0..rounds {
        cat.push(timed(|| run_cat(state))?);
        pass.push(timed(|| {
            let mut reader = Reader::new(channel::File::new(File::open(&state.stream)?));
            load(&mut reader, &mut Nothing, &Options::default())?;
            Ok(())
        })?);
        index.push(timed(|| {
            let opened = vmferry::container::open(File::open(&state.stream)?, 0)?;
            black_box(Index::open(opened, Options::default().vmdesc)?);
            Ok(())
        })?);
    }
    println!("cat FILE >/dev/null  {cat:.3}");
    println!("pass                 {pass:.3}   x cat {}", pass.over(&cat));
    println!(
        "index                {index:.3}   x cat {}",
        index.over(&cat)
    );
    Ok(())
}

fn run_cat(state: &State) -> Result<()> {
    let mut cat = Command::new("cat");
    let status = cat.arg(&state.stream).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "cat: {status}");
    Ok(())
}

/// Keeps nothing.
pub(super) struct Nothing;

impl Visitor for Nothing {
    type Error = Infallible;

    fn page(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        black_box(content);
        Ok(())
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        Ok(())
    }
}
