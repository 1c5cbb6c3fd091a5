//! All runs of some cells.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::load::Load;
use super::record::{Record, Run};
use super::rig::Rig;
use super::subject::Size;
use super::{Cell, trial};

/// How many runs in a row may go wrong before they have begun.
const ERRORS: u32 = 3;

/// What the guardian's patience is above the stall time-out.
const GRACE: Duration = Duration::from_secs(2);

/// How a campaign is led.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// How many runs a cell has, if not its own number.
    pub runs: Option<u32>,
    /// By what that number is divided.
    pub share: u32,
    /// When the blow falls, if not at random.
    pub moment: Option<Duration>,
    /// How many threads work beside it.
    pub load: u32,
    /// The guest's size.
    pub size: Size,
    /// What drives all time-outs of the saves.
    pub stall_timeout: Duration,
    /// How long something is stopped: longer than every time-out.
    pub hold: Duration,
    /// How soon the guest has to tick after a blow, or after the time-out that notices it.
    pub ticks: Duration,
    /// How soon it has to after `vmferry recover`.
    pub after_recover: Duration,
    /// Whether each run is followed by another save, and some by a restore; else only the last of a cell is.
    pub thorough: bool,
}

impl Rules {
    /// As they are meant.
    pub fn strict() -> Self {
        Self {
            runs: None,
            share: 1,
            moment: None,
            load: 2,
            size: Size {
                memory: 256,
                fill: 100,
            },
            stall_timeout: Duration::from_secs(1),
            hold: Duration::from_secs(8),
            ticks: Duration::from_secs(5),
            after_recover: Duration::from_secs(1),
            thorough: true,
        }
    }

    /// A few moments of each cell, on a machine of which nobody knows how busy it is.
    pub fn short() -> Self {
        Self {
            // Three kills, and one of each other blow.
            share: 10,
            load: 0,
            size: Size {
                memory: 160,
                fill: 48,
            },
            stall_timeout: Duration::from_millis(500),
            hold: Duration::from_secs(4),
            ticks: Duration::from_secs(30),
            after_recover: Duration::from_secs(15),
            thorough: false,
            ..Self::strict()
        }
    }

    /// How long a guardian waits for a sign of life.
    pub(super) fn patience(&self) -> Duration {
        self.stall_timeout + GRACE
    }
}

/// Runs, and the record that they are kept in.
#[derive(Debug)]
pub struct Campaign {
    rules: Rules,
    record: Record,
    program: String,
}

impl Campaign {
    /// With a record in `folder`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(rules: Rules, folder: &Path) -> Result<Self> {
        Ok(Self {
            rules,
            record: Record::open(folder)?,
            program: commit(),
        })
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Does all runs of `cells` that the record does not hold, and reports each; no more when `enough` is set.
    ///
    /// # Errors
    /// The lab does not work, or the record cannot be written.
    pub fn lead(
        &self,
        cells: &[Cell],
        enough: &AtomicBool,
        mut report: impl FnMut(&Run),
    ) -> Result<()> {
        // Before the load, and before a run: a save that had to wait for its program would look as if it hung.
        crate::vmferry::program()?;
        let _load = Load::start(self.rules.load)?;
        let mut rig: Option<Rig> = None;
        let mut errors = 0;
        for cell in cells {
            let own = || cell.blow.runs().div_ceil(self.rules.share);
            let runs = self.rules.runs.unwrap_or_else(own);
            let done = self.record.done(cell)?;
            for number in (0..runs).filter(|number| !done.contains(number)) {
                let mut at_hand = match rig.take() {
                    Some(rig) if rig.release == cell.release => rig,
                    // The guest of the other release goes first: one at a time.
                    other => {
                        drop(other);
                        Rig::new(cell.release, self.rules)?
                    }
                };
                let ended = trial::run(&mut at_hand, cell, number, runs);
                if enough.load(Ordering::Relaxed) {
                    // What asked us to end may have ended the guest, too: this run says nothing.
                    return Ok(());
                }
                let mut trial = match ended {
                    Ok(trial) => {
                        errors = 0;
                        rig = Some(at_hand);
                        trial
                    }
                    Err(error) => {
                        errors += 1;
                        ensure!(
                            errors < ERRORS,
                            "{ERRORS} runs in a row do not work; the last, of {cell}: {error:#}"
                        );
                        trial::failed(cell, number, &error)?
                    }
                };
                trial.run.program.clone_from(&self.program);
                if !trial.run.is_good() {
                    let text = format!("{:#?}\n{}", trial.run, trial.details);
                    self.record.keep_details(&trial.run, &text)?;
                }
                self.record.keep(&trial.run)?;
                report(&trial.run);
            }
        }
        Ok(())
    }
}

/// Where there is a clone, which commit it is at.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = git
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_default()
}
