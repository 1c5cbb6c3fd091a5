//! One attempt at a save, in one mode: from the first change in QEMU to the last that is put back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use vmferry::load::{LoadError, Summary};
use vmferry_store::manifest::SaveMode;
use vmferry_store::{SaveOptions, Store, VmName, Writer};

use super::channel::{Channel, ChannelHandle};
use super::failure::Failure;
use super::intake::{Intake, Taken};
use super::pace::Pace;
use super::pause::Pause;
use super::refusal::Guest;
use super::wait::Waiting;
use crate::args::SnapshotChannel;
use crate::fault;
use crate::guardian::{BEAT, Ender, Ending, Plan, Resume, Saver, note, settle};
use crate::machine::ProcessId;
use crate::migration::{self, DOWNTIME_LIMIT, LONGEST_DOWNTIME, Wanted};
use crate::qmp::{self, Client, Event, Events};
use crate::ui::{Progress, Signals};

/// How much longer than we the guardian waits before it takes us for dead; and how long a thread that
/// has nothing left to do may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// How long QEMU may at least take to put things right, before it is left to the guardian.
const SETTLE: Duration = Duration::from_secs(5);

/// How often a migration is begun again when QEMU has not cleared the one before away.
const BEGIN_AGAIN: u32 = 50;

/// What one attempt needs.
pub(super) struct Attempt<'a> {
    pub(super) client: &'a Client,
    pub(super) socket: &'a Path,
    pub(super) version: &'a qmp::Version,
    pub(super) store: &'a Store,
    pub(super) vm: &'a VmName,
    pub(super) mode: SaveMode,
    pub(super) channel: SnapshotChannel,
    pub(super) guest: Guest,
    /// Whether the machine has to be stopped before its migration begins, because this QEMU loses
    /// what it writes meanwhile.
    pub(super) stop_first: bool,
    pub(super) stall_timeout: Duration,
    pub(super) signals: &'a Signals,
    pub(super) progress: &'a mut Progress,
}

/// A stream that has been read, from a guest that has been settled.
pub(super) struct Saved {
    pub(super) writer: Writer,
    pub(super) summary: Summary,
    pub(super) pause: Option<Duration>,
    /// What went otherwise than was asked for.
    pub(super) notes: Vec<String>,
}

impl Attempt<'_> {
    pub(super) fn run(mut self) -> Result<Saved, Failure> {
        let writer = self.store.save(self.vm.clone(), &SaveOptions::default())?;
        let qemu = self.client.peer_pid().ok();
        let (channel, theirs, ending) = Channel::new(&self.mode, self.channel, self.version, qemu)
            .context("cannot make a channel")?;
        let mut plan = self.plan(ending);
        plan.qemu = qemu.and_then(ProcessId::of);
        let saver = Saver::start(&plan, channel.as_fd(), self.client.socket())
            .context("cannot start the guardian of the save")?;
        fault::at("saver:guarded");
        let mut intake = None;
        let result = self.run_guarded(&saver, &mut plan, writer, (&channel, theirs), &mut intake);
        self.progress.clear();
        let Err(failure) = result else {
            fault::at("saver:settled");
            saver.done();
            return result;
        };
        // The guest first: its stream is ended, and it is let go, before anything is said.
        let settled = self.give_up(&plan, &channel, intake.as_ref());
        let Err(trouble) = settled else {
            saver.done();
            if let Some((intake, _)) = intake {
                // What it wrote goes when it ends, which it does now that its stream has ended; unless
                // the store hangs, and then a later save clears up.
                let _ = intake.done().recv_timeout(GRACE);
            }
            return Err(failure);
        };
        saver.leave_to_guardian();
        let text = format!(
            "what the save changed in '{}' is not put back yet: {trouble}. Its guardian goes on trying",
            self.vm
        );
        Err(Failure::Failed(failure.into_error().context(text)))
    }

    fn plan(&self, ending: Ending) -> Plan {
        Plan {
            vm: self.vm.to_string(),
            socket: std::path::absolute(self.socket).unwrap_or_else(|_| self.socket.to_owned()),
            qemu: None,
            ending,
            fd_name: format!("vmferry-{}", std::process::id()),
            resume: self.guest == Guest::Running,
            stopped: false,
            began_ms: None,
            changed: migration::Changed::default(),
            patience: self.stall_timeout + GRACE,
        }
    }

    /// How long QEMU may take to put things right.
    fn settle_by(&self) -> Instant {
        Instant::now() + self.stall_timeout.max(SETTLE)
    }

    /// Ends the stream and puts everything back.
    fn give_up(
        &self,
        plan: &Plan,
        channel: &Channel,
        intake: Option<&(Intake, ChannelHandle)>,
    ) -> Result<(), String> {
        if let Some((_, handle)) = intake {
            handle.abort();
        }
        let ours = channel.as_fd().try_clone_to_owned();
        let ender = ours.and_then(|ours| Ender::start(plan.ending, ours));
        let _ender = ender.map_err(|error| format!("the stream cannot be ended: {error}"))?;
        settle(self.client, plan, Resume::Ours, self.settle_by())
    }

    fn run_guarded(
        &mut self,
        saver: &Saver,
        plan: &mut Plan,
        writer: Writer,
        (channel, theirs): (&Channel, OwnedFd),
        intake: &mut Option<(Intake, ChannelHandle)>,
    ) -> Result<Saved, Failure> {
        let stops_itself =
            self.mode == SaveMode::Stop && self.guest == Guest::Running && !self.stop_first;
        let wanted = match self.mode {
            SaveMode::Snapshot => Wanted::snapshot(),
            _ if stops_itself => Wanted::stopping(),
            _ => Wanted::plain(),
        };
        let events = self.client.subscribe();
        plan.changed = wanted.compare(self.client)?;
        match plan.ending {
            Ending::Outlast => Pace::plan(self.client, plan)?,
            // A guest that changes its memory faster than it can be read is stopped by QEMU itself.
            _ => {
                let limit = json!(LONGEST_DOWNTIME);
                plan.changed.allow(self.client, DOWNTIME_LIMIT, limit)?;
            }
        }
        plan.stopped = self.guest == Guest::Running && self.stop_first;
        // A little before it does: it tells later whose migration one is that has completed.
        plan.began_ms = Some(note::uptime_ms());
        saver
            .will_change(plan)
            .context("the guardian of the save has died")?;
        fault::at("saver:noted");
        match plan.changed.apply(self.client) {
            Ok(()) => {}
            Err(qmp::Error::Refused { description, .. }) => {
                return Err(Failure::Refused(description));
            }
            Err(error) => return Err(error.into()),
        }
        fault::at("saver:set");
        if plan.stopped {
            self.client.execute("stop", Value::Null)?;
            fault::at("saver:stopped");
        }
        self.begin(plan, theirs.as_fd(), &events)?;
        fault::at("saver:begun");
        // From now on the stream ends when QEMU closes its end.
        drop(theirs);

        let (intake, handle) = intake.insert(channel.read_into(writer)?);
        let mut pause = Pause::default();
        let mut notes = Vec::new();
        let waiting = Waiting {
            client: self.client,
            mode: &self.mode,
            plan,
            location: self.store.location().to_string(),
            stall_timeout: self.stall_timeout,
            signals: self.signals,
            events: &events,
            intake,
            channel: handle,
            progress: self.progress,
            pause: &mut pause,
            notes: &mut notes,
            stops_itself,
        };
        let taken = waiting.run()?;
        fault::at("saver:read");
        self.finish(plan, taken, &events, pause, notes)
    }

    /// Lets QEMU begin to send.
    fn begin(&self, plan: &Plan, theirs: BorrowedFd<'_>, events: &Events) -> Result<(), Failure> {
        let name = &plan.fd_name;
        for _ in 0..BEGIN_AGAIN {
            self.client.getfd(name, theirs)?;
            match self
                .client
                .execute("migrate", json!({"uri": format!("fd:{name}")}))
            {
                Ok(_) => return Ok(()),
                // QEMU 10.0 completes a snapshot a moment before it has cleared it away, and then
                // stays in 'setup' until it is told to give up.
                Err(qmp::Error::Refused { description, .. }) if description.contains("yank") => {
                    tracing::debug!(description, "the migration is begun again");
                    self.client.execute("migrate_cancel", Value::Null)?;
                    let soon = Instant::now() + BEAT;
                    // No event has to come: then it is time to try again.
                    let _ = events.wait_for("the end of a migration", soon, at_rest);
                }
                Err(qmp::Error::Refused { description, .. }) => {
                    return Err(Failure::Refused(description));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(anyhow!("QEMU does not clear the migration before this one away").into())
    }

    /// Settles the guest, and checks whether what was read is whole.
    fn finish(
        &mut self,
        plan: &Plan,
        taken: Taken,
        events: &Events,
        mut pause: Pause,
        notes: Vec<String>,
    ) -> Result<Saved, Failure> {
        let summary = match taken.result {
            Ok(summary) => summary,
            Err(error @ LoadError::Read(_)) => return Err(self.stream_error(error.into())),
            // QEMU may sit in a write now, and its monitor be dead: the stream has to be ended first.
            Err(error) => {
                let error = anyhow::Error::from(error).context("the stream could not be saved");
                return Err(error.into());
            }
        };
        let settled = settle(self.client, plan, Resume::Ours, self.settle_by());
        while let Ok(event) = events.receiver().try_recv() {
            pause.see(&event);
        }
        settled.map_err(|trouble| anyhow!(trouble))?;
        let status = migration::query(self.client)?;
        if !status.is_completed() {
            let why = status
                .error_desc
                .as_deref()
                .unwrap_or("it does not say why");
            return Err(anyhow!("QEMU ended the migration as '{}': {why}", status.name()).into());
        }
        Ok(Saved {
            writer: taken.writer,
            summary,
            pause: pause.total(),
            notes,
        })
    }

    /// A stream that ends early does so because QEMU ended it: then its words say more.
    fn stream_error(&self, error: anyhow::Error) -> Failure {
        let status = migration::query(self.client).ok();
        let why = status
            .filter(|status| status.name() == "failed")
            .and_then(|s| s.error_desc);
        match why {
            Some(why) if self.mode == SaveMode::Snapshot => Failure::Refused(why),
            Some(why) => Failure::Failed(error.context(format!("the migration failed: {why}"))),
            None => Failure::Failed(error.context("the stream could not be saved")),
        }
    }
}

fn at_rest(event: &Event) -> Option<()> {
    let status = event.migration_status()?;
    matches!(status, "cancelled" | "failed" | "completed").then_some(())
}
