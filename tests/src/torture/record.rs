//! What is kept of each run: a line of JSON.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Cell;

/// The file, in the record's folder.
const FILE: &str = "runs.jsonl";

/// A folder with what was found out.
#[derive(Debug, Clone)]
pub struct Record {
    folder: PathBuf,
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// The cell's name.
    pub cell: String,
    /// Which one of the cell's.
    pub run: u32,
    /// When it began, in seconds since 1970.
    pub at: u64,
    /// What was tortured: a commit.
    pub program: String,
    /// When the blow was to fall.
    pub aim: String,
    /// When the blow fell, after the start of the save.
    pub moment_ms: f64,
    /// How long a save takes that nobody disturbs.
    pub undisturbed_ms: f64,
    /// The last that QEMU had said of the save before the blow.
    pub phase: String,
    /// Whom the blow hit.
    pub hit: String,
    /// How the save ended.
    pub save: String,
    /// When the guest ticked again, after the blow (after its end, for one that stops QEMU): the end of the
    /// last silence of more than a second, or the first tick.
    pub ticks_ms: Option<f64>,
    /// The longest silence of the guest from the start of the save on.
    pub gap_ms: f64,
    /// Whether it ticked before anybody had to see to it. For the death of both.
    pub by_itself: Option<bool>,
    /// What put right what the death of both had left: `recover`, or the next `save`.
    pub recovered_by: String,
    /// How long that took, and after its end the guest to tick.
    pub recover_ms: Option<(f64, Option<f64>)>,
    /// How long it took until nothing of the save was running any more.
    pub over_ms: f64,
    /// How long the next save took.
    pub next_save_ms: Option<f64>,
    /// Whether a restore of the next save ticked.
    pub restored: Option<bool>,
    /// Whether the guest could not be used any more.
    pub lost: bool,
    /// What was wrong, by kind. Nothing, if all was well.
    pub faults: BTreeMap<String, String>,
    /// What the save said.
    pub said: String,
}

impl Record {
    /// In a folder, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// All runs so far.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let path = self.path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let parse = |(number, line): (usize, &str)| {
            let run = serde_json::from_str(line);
            run.with_context(|| format!("{}, line {}: no run", path.display(), number + 1))
        };
        text.lines().enumerate().map(parse).collect()
    }

    /// The numbers of a cell's runs so far.
    ///
    /// # Errors
    /// As for [`Record::runs`].
    pub fn done(&self, cell: &Cell) -> Result<Vec<u32>> {
        let name = cell.to_string();
        let runs = self.runs()?.into_iter().filter(|run| run.cell == name);
        Ok(runs.map(|run| run.run).collect())
    }

    /// Keeps a run. Several programs may do so at the same time.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, run: &Run) -> Result<()> {
        let mut line = serde_json::to_vec(run)?;
        line.push(b'\n');
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path());
        let written = file.and_then(|mut file| file.write_all(&line));
        written.with_context(|| format!("cannot write to {}", self.path().display()))
    }

    /// Keeps what a failure looked like when it was found.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_details(&self, run: &Run, details: &str) -> Result<PathBuf> {
        let name = format!("{}-{}-{}.txt", run.cell.replace('/', "-"), run.run, run.at);
        let path = self.folder.join(name);
        fs::write(&path, details).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Puts an earlier record out of the way.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn put_away(&self) -> Result<()> {
        let path = self.path();
        if !path.exists() {
            return Ok(());
        }
        let free = (1..)
            .map(|number| self.folder.join(format!("{FILE}.{number}")))
            .find(|path| !path.exists());
        let free = free.context("no name is left")?;
        fs::rename(&path, free).with_context(|| format!("cannot move {}", path.display()))
    }
}

impl Run {
    /// Whether all was well.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// Adds something that was wrong.
    pub(super) fn fault(&mut self, kind: &str, what: impl std::fmt::Display) {
        let text = self.faults.entry(kind.to_owned()).or_default();
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&format!("{what:#}"));
    }
}
