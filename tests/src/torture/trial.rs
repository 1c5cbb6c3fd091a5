//! One run: a save, a blow, and what becomes of the guest.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use super::aftermath;
use super::blow::{self, Struck};
use super::cell::{Blow, Cell};
use super::family::Role;
use super::moment::{self, Moment};
use super::pulse::Pulse;
use super::record::Run;
use super::rig::{Rig, millis, rest_until};
use super::save::{Save, VM};
use super::subject::Subject;

/// How much longer than the guest's own time-out all may take to end. What does not is left over.
const OVERTIME: Duration = Duration::from_secs(20);

/// After the death of both, a guest that has not ticked for so long does not go on by itself.
const BY_ITSELF: Duration = Duration::from_millis(2500);

/// How long a guest may take to tick steadily once nobody of the save is left. One that stands still then
/// will not tick later either.
const STEADY: Duration = Duration::from_secs(8);

/// How long `vmferry recover`, or the save in its place, may take.
const RECOVER: Duration = Duration::from_secs(60);

/// One of so many runs leaves to the next save what is to be put right.
const NEXT_SAVE: u32 = 3;

/// Lines of the console from before the save: the last tick before it is among them.
const BEFORE: usize = 20;

/// A run, and, if something was wrong, what it looked like.
#[derive(Debug, Default)]
pub(super) struct Trial {
    pub(super) run: Run,
    pub(super) details: String,
}

/// Runs it. The rig is ready for the next run afterwards.
pub(super) fn run(rig: &mut Rig, cell: &Cell, number: u32, runs: u32) -> Result<Trial> {
    rig.make_ready(cell)?;
    let undisturbed = rig.undisturbed(cell);
    let mut trial = Trial::default();
    trial.run.cell = cell.to_string();
    trial.run.run = number;
    trial.run.at = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    trial.run.undisturbed_ms = millis(undisturbed.whole);
    let moment = rig
        .rules
        .moment
        .map_or_else(|| moment::of(number, runs, &undisturbed), Moment::After);
    trial.run.aim = aim(&moment);

    trial.disturb(rig, cell, number, &moment)?;
    let last = number + 1 == runs;
    if !trial.run.faults.contains_key("still") {
        aftermath::check(&mut trial, rig, cell, number, last)?;
    }
    rig.was_good = trial.run.is_good();
    // A machine that cannot be saved any more is no good for the next run, even where it ticks.
    let faults = &trial.run.faults;
    let is_spoilt = faults.contains_key("next save") || faults.contains_key("bad");
    if !faults.is_empty() && (!rig.subject()?.repair() || is_spoilt) {
        trial.run.lost = true;
        rig.lose_subject();
    }
    Ok(trial)
}

impl Trial {
    fn disturb(&mut self, rig: &Rig, cell: &Cell, number: u32, moment: &Moment) -> Result<()> {
        let subject = rig.subject()?;
        let console = subject.guest.console();
        let position = console.position().saturating_sub(BEFORE);
        let room = match cell.blow {
            Blow::DiskFull => Some(rig.fill_disk()?),
            _ => None,
        };
        let mut save = Save::start(rig, cell, subject)?;
        let began = save.began;
        if room.is_none() {
            wait(&mut save, moment);
        }
        save.phase().clone_into(&mut self.run.phase);
        let struck = blow::strike(rig, cell, number, &save)?;
        self.run.moment_ms = millis(struck.at - began);
        self.run.hit = match room {
            Some(room) => format!("{}, with room for {room} bytes", struck.hit),
            None => struck.hit.clone(),
        };

        let limit = limit(rig, cell);
        let mut since = struck.at;
        if cell.blow == Blow::KillBoth {
            since = self.after_both(rig, cell, &save, &struck, position)?;
        }
        let over = until_over(&save, subject, since, struck.at + limit + OVERTIME);
        self.run.over_ms = millis(struck.at.elapsed());
        let pulse = Pulse::of(&subject.guest, position);
        let ticks = pulse.ticks_after(struck.at);
        self.run.ticks_ms = ticks.map(millis);
        self.run.gap_ms = millis(pulse.longest_silence(began));
        let silence = pulse.longest_silence(struck.at);
        self.run.save = save.outcome();
        self.run.said = save.said();
        if let Some(bad) = &pulse.bad {
            self.run
                .fault("bad", format_args!("the guest found: {bad}"));
        }
        match (ticks, over) {
            (None, _) | (_, Over::Unsteady) => {
                self.run.fault(
                    "still",
                    format_args!(
                        "the guest stands still {:.1?} after the blow",
                        struck.at.elapsed()
                    ),
                );
            }
            _ if silence > limit && self.run.by_itself != Some(false) => {
                self.run.fault(
                    "late",
                    format_args!(
                        "the guest stood still for {silence:.1?} after the blow; {limit:?} were allowed"
                    ),
                );
            }
            _ => {}
        }
        if over == Over::Left {
            let left: Vec<_> = save
                .family()
                .members()
                .iter()
                .map(|member| member.describe())
                .collect();
            self.run
                .fault("left", format_args!("{} processes still run", left.len()));
            self.details.push_str(&left.join("\n"));
        }
        if !self.run.is_good() {
            self.details
                .push_str(&format!("\n{}\n", subject.describe()));
        }
        save.family().end();
        if room.is_some() {
            rig.empty_disk()?;
        }
        Ok(())
    }

    /// Both are dead: does QEMU go on by itself, and does `vmferry recover`, or the next save, put the rest
    /// right? Gives the moment from which on all must be well.
    fn after_both(
        &mut self,
        rig: &Rig,
        cell: &Cell,
        save: &Save<'_>,
        struck: &Struck,
        position: usize,
    ) -> Result<Instant> {
        let subject = rig.subject()?;
        let used = subject.used();
        let mut by_itself = false;
        while !by_itself && struck.at.elapsed() < BY_ITSELF {
            subject.pause();
            by_itself = Pulse::of(&subject.guest, position).is_steady(struck.at)
                && subject.used().is_more_than(&used);
        }
        self.run.by_itself = Some(by_itself);
        if cell.how.is_exec() {
            // It has changed nothing. What may be left is a shell that reads the rest.
            return Ok(struck.at);
        }
        save.family().end();
        if !by_itself {
            let state = subject.describe();
            self.details.push_str(&format!("before recover: {state}\n"));
        }
        let began = Instant::now();
        let qmp = format!("unix:{}", subject.guest.qmp_path().display());
        let words: &[&str] = match self.run.run % NEXT_SAVE {
            2 => &["save", VM, "--qmp", &qmp, "--mode", cell.how.mode()],
            _ => &["recover", "--qmp", &qmp],
        };
        words
            .first()
            .copied()
            .unwrap_or_default()
            .clone_into(&mut self.run.recovered_by);
        let mut recover = rig.vmferry(cell).start(words)?;
        let status = recover.wait_for(RECOVER);
        let ended = Instant::now();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => {
                let said = recover.stderr();
                self.run
                    .fault("recover", format_args!("{status}: {}", said.trim_end()));
            }
            Err(_) => self.run.fault(
                "recover",
                format_args!("it does not end within {RECOVER:?}: {}", recover.stderr()),
            ),
        }
        drop(recover);
        // A save has the guest stand still itself, and is asked for no more than the guest's usual time.
        let limit = match self.run.recovered_by.as_str() {
            "recover" => rig.rules.after_recover,
            _ => rig.rules.ticks,
        };
        let ticks = loop {
            let ticks = Pulse::of(&subject.guest, position).first_after(ended);
            if ticks.is_some() || ended.elapsed() > limit {
                break ticks;
            }
            subject.pause();
        };
        self.run.recover_ms = Some((millis(ended - began), ticks.map(millis)));
        if ticks.is_none_or(|ticks| ticks > limit) {
            self.run.fault(
                "recover",
                format_args!("the guest does not tick within {limit:?} of its end"),
            );
        }
        Ok(ended)
    }
}

/// What a save may take until something that its blow waits for.
const EVENT: Duration = Duration::from_secs(10);

fn wait(save: &mut Save<'_>, moment: &Moment) {
    match moment {
        Moment::After(time) => rest_until(save.began + *time),
        Moment::AfterGuardian(time) => {
            save.family().wait_for(Role::Guardian, EVENT);
            rest_until(Instant::now() + *time);
        }
        Moment::AfterEvent(event, time) => {
            save.wait_for_event(event, Instant::now() + EVENT);
            rest_until(Instant::now() + *time);
        }
    }
}

/// What a record says of it.
fn aim(moment: &Moment) -> String {
    let after = |what: &str, time: &Duration| format!("{what} + {} ms", millis(*time));
    match moment {
        Moment::After(time) => after("start", time),
        Moment::AfterGuardian(time) => after("guardian", time),
        Moment::AfterEvent(event, time) => after(event, time),
    }
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Nobody is left, and the guest ticks.
    Good,
    /// Nobody is left, but the guest does not tick.
    Unsteady,
    /// Somebody is left.
    Left,
}

/// Waits until nothing of the save is running any more, and the guest has ticked for a while since then.
fn until_over(save: &Save<'_>, subject: &Subject, since: Instant, deadline: Instant) -> Over {
    let mut gone = None;
    let position = subject.guest.console().position().saturating_sub(BEFORE);
    loop {
        if gone.is_none() && save.is_over() {
            gone = Some((Instant::now().max(since), subject.used()));
        }
        if let Some((from, used)) = &gone {
            if Pulse::of(&subject.guest, position).is_steady(*from)
                && subject.used().is_more_than(used)
            {
                return Over::Good;
            }
            if from.elapsed() > STEADY {
                return Over::Unsteady;
            }
        }
        if Instant::now() > deadline && gone.is_none() {
            return Over::Left;
        }
        subject.pause();
    }
}

/// How long after the blow the guest has to tick: after the time-out that notices it, or, where the save may
/// simply go on, after its end.
fn limit(rig: &Rig, cell: &Cell) -> Duration {
    let rules = &rig.rules;
    match cell.blow {
        Blow::KillGuardian | Blow::StopGuardian => rig.undisturbed(cell).whole + rules.ticks,
        Blow::StopSaver | Blow::DiskHangs => rules.patience() + rules.ticks,
        _ => rules.ticks,
    }
}

/// What did not work at all is a failure of the run, too.
pub(super) fn failed(cell: &Cell, number: u32, error: &anyhow::Error) -> Result<Trial> {
    let mut trial = Trial::default();
    trial.run.cell = cell.to_string();
    trial.run.run = number;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    trial.run.at = now.context("a clock before 1970")?.as_secs();
    trial.run.lost = true;
    trial.run.fault("error", format_args!("{error:#}"));
    Ok(trial)
}
