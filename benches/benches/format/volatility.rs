//! The guest's memory as an image, beside Volatility 3.

use std::fs;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use vmferry_benches::Figures;
use vmferry_tests::{Release, Vmferry, Volatility};

use super::{Wanted, state, timed};

pub(super) fn run(wanted: &Wanted) -> Result<()> {
    println!("\n# volatility: a stream to an image of the guest-physical memory, s");
    let folder = TempDir::with_prefix("vmferry-bench-")?;
    let (stream, image) = (folder.path().join("stream"), folder.path().join("raw"));
    state::write(Release::V7_2, 512, 128, &stream)?;
    let (vmferry, volatility) = (Vmferry::new()?, Volatility::get()?);
    let words = ["export", "--format", "raw", "-o"].map(Into::into);
    let words = words
        .into_iter()
        .chain([image.clone().into_os_string(), stream.clone().into()]);
    let words: Vec<std::ffi::OsString> = words.collect();
    let (mut ours, mut theirs) = <(Figures, Figures)>::default();
    for _ in 0..wanted.rounds {
        ours.push(timed(|| vmferry.run(&words))?);
        ensure!(
            fs::metadata(&image)?.len() >= 512 << 20,
            "an image too short"
        );
        fs::remove_file(&image)?;
        theirs.push(timed(|| volatility.layer_of_stream(&stream))?);
    }
    println!("vmferry export --format raw  {ours:.2}");
    println!(
        "volatility 3, layerwriter    {theirs:.2}   / ours {:.0}",
        theirs.over(&ours)
    );
    Ok(())
}
