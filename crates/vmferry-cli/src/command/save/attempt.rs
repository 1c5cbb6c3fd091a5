//! One attempt at a save, in one mode: from the first change in QEMU to the last that is put back.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, select, tick};
use serde_json::{Value, json};
use vmferry::channel::{Duplex, Socket};
use vmferry::load::Summary;
use vmferry_store::manifest::SaveMode;
use vmferry_store::{SaveOptions, Store, VmName, Writer};

use super::intake::{Intake, Taken};
use super::pause::Pause;
use super::refusal::Guest;
use crate::guardian::{BEAT, Ending, Plan, Saver, settle};
use crate::migration::{self, Wanted};
use crate::qmp::{self, Client, Event, Events};
use crate::ui::{Interrupted, Progress, RamSnapshot, Signals, Snapshot, StoreSnapshot};

/// How much longer than we the guardian waits before it takes us for dead; and how long a thread that
/// has nothing left to do may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// Rounds over the dirty pages after which a guest that writes faster than we read is stopped for the
/// rest, and the time after which that is done anyway.
const LIVE_ROUNDS: u64 = 12;
const LIVE_TIME: Duration = Duration::from_secs(300);

/// How often a migration is begun again when QEMU has not cleared the one before away.
const BEGIN_AGAIN: u32 = 50;

/// What one attempt needs.
pub(super) struct Attempt<'a> {
    pub(super) client: &'a Client,
    pub(super) version: &'a qmp::Version,
    pub(super) store: &'a Store,
    pub(super) vm: &'a VmName,
    pub(super) mode: SaveMode,
    pub(super) guest: Guest,
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

/// Why an attempt failed.
pub(super) enum Failure {
    /// QEMU cannot do it in this mode; nothing has been changed.
    Refused(String),
    /// Anything else; everything has been put back.
    Failed(anyhow::Error),
}

impl Failure {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Refused(why) => anyhow!(why),
            Self::Failed(error) => error,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Attempt<'_> {
    pub(super) fn run(mut self) -> Result<Saved, Failure> {
        let writer = self.store.save(self.vm.clone(), &SaveOptions::default())?;
        let (ours, theirs) = UnixStream::pair().context("cannot make a channel")?;
        let mut plan = self.plan();
        let saver = Saver::start(&plan, ours.as_fd(), self.client.socket())
            .context("cannot start the guardian of the save")?;
        let mut intake = None;
        let channel = (ours.try_clone()?, theirs);
        let result = self.run_guarded(&saver, &mut plan, writer, channel, &mut intake);
        self.progress.clear();
        let result = result.map_err(|failure| {
            // The guest first: its stream is ended, and it is let go, before anything is said.
            match settle(self.client, &plan, Some(ours.as_fd())).into_text() {
                None => failure,
                Some(trouble) => {
                    let text = format!("see to the guest of '{}': {trouble}", self.vm);
                    Failure::Failed(failure.into_error().context(text))
                }
            }
        });
        saver.done();
        if let (Err(_), Some(intake)) = (&result, intake) {
            // What it wrote goes when it ends, which it does now that its stream has ended; unless
            // the store hangs, and then a later save clears up.
            let _ = intake.done().recv_timeout(GRACE);
        }
        result
    }

    fn plan(&self) -> Plan {
        Plan {
            vm: self.vm.to_string(),
            ending: match self.mode {
                SaveMode::Snapshot => Ending::of_snapshot(self.version),
                _ => Ending::Close,
            },
            fd_name: format!("vmferry-{}", std::process::id()),
            resume: self.guest == Guest::Running,
            changed: migration::Changed::default(),
            patience: self.stall_timeout + GRACE,
        }
    }

    fn run_guarded(
        &mut self,
        saver: &Saver,
        plan: &mut Plan,
        writer: Writer,
        (ours, theirs): (UnixStream, UnixStream),
        intake: &mut Option<Intake>,
    ) -> Result<Saved, Failure> {
        let wanted = match self.mode {
            SaveMode::Snapshot => Wanted::snapshot(),
            _ => Wanted::plain(),
        };
        let events = self.client.subscribe();
        plan.changed = match wanted.set(self.client) {
            Ok(changed) => changed,
            Err(qmp::Error::Refused { description, .. }) => {
                return Err(Failure::Refused(description));
            }
            Err(error) => return Err(error.into()),
        };
        saver
            .changed(plan)
            .context("the guardian of the save has died")?;
        if self.mode == SaveMode::Stop && self.guest == Guest::Running {
            self.client.execute("stop", Value::Null)?;
        }
        self.begin(plan, theirs.as_fd(), &events)?;
        // From now on the stream ends when QEMU closes its end.
        drop(theirs);

        let (reader, _) = Socket::from(ours).split();
        let intake = intake.insert(Intake::start(reader, writer)?);
        let mut pause = Pause::default();
        let mut notes = Vec::new();
        let taken = self.wait(intake, &events, &mut pause, &mut notes)?;
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

    /// Waits until the stream has been read, or has to be given up.
    fn wait(
        &mut self,
        intake: &Intake,
        events: &Events,
        pause: &mut Pause,
        notes: &mut Vec<String>,
    ) -> Result<Taken, Failure> {
        let began = Instant::now();
        let beat: Receiver<Instant> = tick(BEAT);
        let mut stopped = false;
        loop {
            select! {
                recv(intake.done()) -> taken => {
                    return taken.context("the thread that reads the stream has died").map_err(Into::into);
                }
                recv(self.signals.receiver()) -> signal => {
                    return Err(signal.unwrap_or(Interrupted(2)).into());
                }
                recv(events.receiver()) -> event => match event {
                    Ok(event) => pause.see(&event),
                    // The stream's end tells more than that of the monitor.
                    Err(_) => return intake.done().recv().map_err(Into::into),
                },
                recv(beat) -> _ => {
                    let stalled = intake.progress().stalled(Instant::now());
                    if stalled.is_some_and(|stalled| stalled > self.stall_timeout) {
                        return Err(self.stalled().into());
                    }
                    let Some(status) = migration::glance(self.client)? else {
                        continue;
                    };
                    self.show(intake, &status);
                    if self.mode == SaveMode::Precopy && !stopped && does_not_converge(&status, began) {
                        self.client.execute("stop", Value::Null)?;
                        stopped = true;
                        notes.push(
                            "the guest changed its memory faster than it could be read, and was \
                             stopped for the rest".to_owned(),
                        );
                    }
                }
            }
        }
    }

    fn stalled(&self) -> anyhow::Error {
        anyhow!(
            "the store in {} has taken nothing for {:?} (--stall-timeout): is its disk full or hanging?",
            self.store.location(),
            self.stall_timeout
        )
    }

    fn show(&mut self, intake: &Intake, status: &migration::Status) {
        let counters = intake.progress().counters();
        let page = 4096;
        let snapshot = Snapshot {
            ram: RamSnapshot {
                total: status.ram.total,
                transferred: counters.pages * page,
                duplicate: counters.zero_pages * page,
            },
            store: StoreSnapshot {
                stored: counters.stored_bytes,
                on_demand: 0,
            },
        };
        self.progress.show(status.name(), &snapshot);
    }

    /// Settles the guest, and tells whether what was read is whole.
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
            Err(error) => return Err(self.stream_error(error.into())),
        };
        let settled = settle(self.client, plan, None);
        let status = migration::query(self.client)?;
        while let Ok(event) = events.receiver().try_recv() {
            pause.see(&event);
        }
        if let Some(trouble) = settled.into_text() {
            return Err(anyhow!(trouble).into());
        }
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

fn does_not_converge(status: &migration::Status, began: Instant) -> bool {
    status.name() == "active"
        && (status.ram.dirty_sync_count > LIVE_ROUNDS || began.elapsed() > LIVE_TIME)
}
