//! The program's look into a stream.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use vmferry_benches::{Figures, PeakMemory};
use vmferry_tests::vmferry;

use super::state::State;
use super::{Wanted, timed};

/// One command, in its rounds.
struct Case {
    name: &'static str,
    program: PathBuf,
    words: Vec<String>,
    /// What it writes.
    out: Option<PathBuf>,
    /// Which of the cases it is measured against.
    beside: usize,
    seconds: Figures,
    peak: f64,
}

pub(super) fn run(state: &State, wanted: &Wanted) -> Result<()> {
    let folder = match &wanted.out {
        Some(out) => TempDir::with_prefix_in("vmferry-bench-", out)?,
        None => TempDir::with_prefix("vmferry-bench-")?,
    };
    println!(
        "\n# look: the program, s; the goals are 1.5 x cat for inspect, 1.2 x cp for export, 256 MiB of memory"
    );
    println!(
        "what is written goes to {}, and is not synced",
        folder.path().display()
    );
    let mut cases = cases(&state.stream, folder.path())?;
    for _ in 0..wanted.rounds {
        for case in &mut cases {
            case.run()?;
        }
    }
    for case in &cases {
        let ratio = case.seconds.over(&cases[case.beside].seconds);
        println!(
            "{:24} {:.3}   peak {:.0} MiB   x {} {ratio}",
            case.name, case.seconds, case.peak, cases[case.beside].name
        );
    }
    Ok(())
}

fn cases(stream: &Path, folder: &Path) -> Result<Vec<Case>> {
    let stream = stream.to_str().context("a path that is no text")?;
    let path = |name: &str| folder.join(name);
    let text = |name: &str| path(name).display().to_string();
    let vmferry = vmferry::program()?;
    let case = |name, program: &Path, words: &[&str], out: Option<&str>, beside| Case {
        name,
        program: program.to_owned(),
        words: words.iter().map(|&word| word.to_owned()).collect(),
        out: out.map(path),
        beside,
        seconds: Figures::default(),
        peak: 0.0,
    };
    let (copy, raw) = (text("copy"), text("raw"));
    let export = ["export", stream, "--format", "raw", "-o", &raw];
    let picture = text("ram.png");
    Ok(vec![
        case("cat", Path::new("cat"), &[stream], None, 0),
        case("vmferry inspect", vmferry, &["inspect", stream], None, 0),
        case("vmferry verify", vmferry, &["verify", stream], None, 0),
        case(
            "vmferry diff A A",
            vmferry,
            &["diff", stream, stream],
            None,
            0,
        ),
        case(
            "vmferry map",
            vmferry,
            &["map", stream, "-o", &picture],
            Some("ram.png"),
            0,
        ),
        case(
            "cp --sparse",
            Path::new("cp"),
            &["--sparse=always", stream, &copy],
            Some("copy"),
            5,
        ),
        case("vmferry export raw", vmferry, &export, Some("raw"), 5),
    ])
}

impl Case {
    fn run(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.words).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        self.seconds.push(timed(|| {
            let mut child = command.spawn()?;
            let peak = PeakMemory::watch(child.id());
            let mut said = String::new();
            if let Some(stderr) = &mut child.stderr {
                stderr.read_to_string(&mut said)?;
            }
            let status = child.wait()?;
            ensure!(status.success(), "{}: {said}", self.name);
            self.peak = self.peak.max(peak.mib());
            Ok(())
        })?);
        if let Some(out) = &self.out {
            ensure!(
                File::open(out)?.metadata()?.len() > 0,
                "{} is empty",
                out.display()
            );
            fs::remove_file(out)?;
        }
        Ok(())
    }
}
