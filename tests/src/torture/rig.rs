//! What serves many runs: the guest, the stores, a disk of its own, a control group.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::campaign::Rules;
use super::cell::{Blow, Cell, How};
use super::cgroup::Cgroup;
use super::moment::{self, Undisturbed};
use super::save::Save;
use super::subject::Subject;
use crate::{Disk, Release, Vmferry};

/// The room on the disk of its own, in MiB: enough for a checkpoint and the next one.
const DISK: u64 = 512;

/// The file that takes the room away.
const BALLAST: &str = "ballast";

/// One release's.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) release: Release,
    pub(super) rules: Rules,
    subject: Option<Subject>,
    plain: Vmferry,
    // The store first: it lies on the disk.
    on_disk: Option<(Vmferry, Disk)>,
    pub(super) cgroup: Option<Cgroup>,
    undisturbed: BTreeMap<String, Undisturbed>,
    /// Whether the last run was, so that the guest has just been seen to tick.
    pub(super) was_good: bool,
}

impl Rig {
    pub(super) fn new(release: Release, rules: Rules) -> Result<Self> {
        Ok(Self {
            release,
            rules,
            subject: None,
            plain: Vmferry::new()?,
            on_disk: None,
            cgroup: Cgroup::new().ok(),
            undisturbed: BTreeMap::new(),
            was_good: false,
        })
    }

    /// Sees to it that there is a guest that ticks, and a store.
    pub(super) fn make_ready(&mut self, cell: &Cell) -> Result<()> {
        if self.subject.is_none() {
            self.subject = Some(Subject::start(self.release, self.rules.size)?);
        }
        if cell.blow.needs_a_disk() && self.on_disk.is_none() {
            let disk = Disk::new(DISK)?;
            self.on_disk = Some((Vmferry::with_store(disk.path().join("store"))?, disk));
        }
        let subject = self.subject.as_mut().context("no guest")?;
        subject.prepare(cell.how.is_exec())?;
        ensure!(
            self.was_good || subject.ticks_steadily(Duration::from_secs(30)),
            "the guest does not tick before the run"
        );
        if !self.undisturbed.contains_key(&key(cell)) {
            // Twice: the first makes the store.
            for _ in 0..2 {
                let seen = self.save_undisturbed(cell)?;
                self.undisturbed.insert(key(cell), seen);
            }
        }
        Ok(())
    }

    fn save_undisturbed(&self, cell: &Cell) -> Result<Undisturbed> {
        let subject = self.subject()?;
        let vmferry = self.vmferry(cell);
        let mut save = Save::start(self, cell, subject)?;
        while !save.is_over() {
            ensure!(
                save.began.elapsed() < crate::PATIENCE,
                "an undisturbed save does not end: {}",
                save.said()
            );
            subject.pause();
        }
        let whole = save.began.elapsed();
        let (setup, events) = save.seen();
        if !cell.how.is_exec() {
            let ended = save.end()?;
            ended.succeeded().context("an undisturbed save fails")?;
        }
        delete_all(vmferry)?;
        Ok(Undisturbed {
            whole,
            setup,
            events,
        })
    }

    pub(super) fn subject(&self) -> Result<&Subject> {
        self.subject.as_ref().context("no guest")
    }

    /// The guest cannot be used any more.
    pub(super) fn lose_subject(&mut self) {
        self.subject = None;
    }

    /// The program, with the store that a cell takes.
    pub(super) fn vmferry(&self, cell: &Cell) -> &Vmferry {
        match &self.on_disk {
            Some((vmferry, _)) if cell.blow.needs_a_disk() => vmferry,
            _ => &self.plain,
        }
    }

    pub(super) fn disk(&self) -> Result<&Disk> {
        self.on_disk
            .as_ref()
            .map(|(_, disk)| disk)
            .context("no disk")
    }

    /// What is known of a save that nobody disturbs.
    pub(super) fn undisturbed(&self, cell: &Cell) -> Undisturbed {
        let known = self.undisturbed.get(&key(cell));
        known.cloned().unwrap_or_default()
    }

    /// Another one has been seen.
    pub(super) fn has_seen(&mut self, cell: &Cell, took: Duration) {
        if let (false, Some(known)) = (cell.how.is_exec(), self.undisturbed.get_mut(&key(cell))) {
            known.whole = (known.whole * 3 + took) / 4;
        }
    }

    /// Takes room away from a disk: what is left is less than a save takes.
    pub(super) fn fill_disk(&self) -> Result<u64> {
        let disk = self.disk()?;
        let room = rustix::fs::statvfs(disk.path())?;
        let free = room.f_bavail * room.f_frsize;
        // Half of it is noise, which no compressor makes smaller.
        let left =
            (f64::from(self.rules.size.fill) * moment::chance() / 2.0 * f64::from(1 << 20)).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of bytes"
        )]
        let left = left as u64;
        let ballast = File::create(self.ballast()?)?;
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&ballast, flags, 0, free.saturating_sub(left).max(1))
            .context("cannot fill a disk")?;
        Ok(left)
    }

    /// Gives it back.
    pub(super) fn empty_disk(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.ballast()?)?)
    }

    fn ballast(&self) -> Result<PathBuf> {
        Ok(self.disk()?.path().join(BALLAST))
    }

    /// Whom to tell apart in a record: whether a control group is killed in this run.
    pub(super) fn by_cgroup(&self, cell: &Cell, number: u32) -> Option<&Cgroup> {
        let whole = cell.blow == Blow::KillBoth && !cell.how.is_exec() && number % 2 == 1;
        self.cgroup.as_ref().filter(|_| whole)
    }
}

fn key(cell: &Cell) -> String {
    let how = match cell.how {
        How::ExecDrained => How::Exec,
        how => how,
    };
    format!("{how} {}", cell.blow.needs_a_disk())
}

/// Deletes all checkpoints of a store.
pub(super) fn delete_all(vmferry: &Vmferry) -> Result<()> {
    let checkpoints = vmferry.checkpoints()?;
    if checkpoints.is_empty() {
        return Ok(());
    }
    let words = std::iter::once("delete".to_owned()).chain(checkpoints);
    vmferry.run(words)?.succeeded()
}

/// Milliseconds, for a record.
pub(super) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

/// Rests until a moment.
pub(super) fn rest_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}
