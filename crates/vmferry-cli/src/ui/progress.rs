//! Progress: a bar on a terminal, lines of JSON for programs.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use serde::{Deserialize, Serialize};

use super::human;

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgressStyle {
    /// A bar, if standard error is a terminal
    #[default]
    Auto,
    /// A bar
    Bar,
    /// A line of JSON on standard error, twice a second
    Json,
    /// Not at all
    None,
}

/// How far something is. The names are those of `query-migrate`; ours are under `store`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Guest memory.
    pub ram: RamSnapshot,
    /// The store.
    pub store: StoreSnapshot,
}

/// How far the guest's memory is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct RamSnapshot {
    /// All of it.
    pub total: u64,
    /// Transferred; more than all of it where pages came again.
    pub transferred: u64,
    /// Transferred as nothing but "zero".
    pub duplicate: u64,
}

/// How far the store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StoreSnapshot {
    /// Bytes written by a save.
    pub stored: u64,
    /// Pages that a lazy restore sent because the guest waited for them.
    pub on_demand: u64,
}

/// Shows progress.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
    began: Instant,
    next: Instant,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Json(&'static str),
    Nothing,
}

/// How often a line of JSON is written.
const JSON_EVERY: Duration = Duration::from_millis(500);

impl Progress {
    /// Progress of `what` (`save`, `restore`).
    pub fn new(style: ProgressStyle, what: &'static str) -> Self {
        let bar = || {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = "{prefix} [{bar:32}] {msg}";
            if let Ok(style) = BarStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(what);
            Shown::Bar(bar)
        };
        let shown = match style {
            ProgressStyle::Bar => bar(),
            ProgressStyle::Auto if std::io::stderr().is_terminal() => bar(),
            ProgressStyle::Json => Shown::Json(what),
            ProgressStyle::Auto | ProgressStyle::None => Shown::Nothing,
        };
        let now = Instant::now();
        Self {
            shown,
            began: now,
            next: now,
        }
    }

    /// Shows how far it is.
    pub fn show(&mut self, status: &str, snapshot: &Snapshot) {
        match &self.shown {
            Shown::Bar(bar) => {
                let ram = &snapshot.ram;
                bar.set_length(ram.total.max(1));
                bar.set_position(ram.transferred.min(ram.total));
                bar.set_message(self.message(status, snapshot));
            }
            Shown::Json(what) if Instant::now() >= self.next => {
                self.next = Instant::now() + JSON_EVERY;
                #[derive(Serialize)]
                #[serde(rename_all = "kebab-case")]
                struct Line<'a> {
                    progress: &'a str,
                    status: &'a str,
                    total_time: u128,
                    #[serde(flatten)]
                    snapshot: &'a Snapshot,
                }
                let line = Line {
                    progress: what,
                    status,
                    total_time: self.began.elapsed().as_millis(),
                    snapshot,
                };
                if let Ok(text) = super::json(&line) {
                    // Progress that nobody reads is no reason to end.
                    let _ = writeln!(std::io::stderr(), "{text}");
                }
            }
            Shown::Json(_) | Shown::Nothing => {}
        }
    }

    fn message(&self, status: &str, snapshot: &Snapshot) -> String {
        let ram = &snapshot.ram;
        let mut text = human::bytes(ram.transferred);
        // Nobody knows how much will come through a pipe.
        if ram.total > 0 {
            text.push_str(&format!(" of {}", human::bytes(ram.total)));
        }
        text.push_str(&format!(" {status}"));
        if snapshot.store.stored > 0 {
            text.push_str(&format!(", {} stored", human::bytes(snapshot.store.stored)));
        }
        if snapshot.store.on_demand > 0 {
            text.push_str(&format!(", {} pages on demand", snapshot.store.on_demand));
        }
        text
    }

    /// Takes the bar away: something else is to be said.
    pub fn clear(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Progress of one pass over something that is read from its beginning to its end.
#[derive(Debug)]
pub struct PassProgress {
    progress: Progress,
    total: u64,
}

impl PassProgress {
    /// Progress of `what` over so many bytes, where that is known.
    pub fn new(style: ProgressStyle, what: &'static str, total: Option<u64>) -> Self {
        Self {
            progress: Progress::new(style, what),
            total: total.unwrap_or(0),
        }
    }

    /// So many bytes were read.
    pub fn show(&mut self, read: u64) {
        let ram = RamSnapshot {
            total: self.total,
            transferred: read,
            duplicate: 0,
        };
        let snapshot = Snapshot {
            ram,
            store: StoreSnapshot::default(),
        };
        self.progress.show("read", &snapshot);
    }
}
