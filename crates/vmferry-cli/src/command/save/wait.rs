//! Waiting until a stream has been read, or has to be given up.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use crossbeam_channel::{Receiver, never, select, tick};
use serde_json::json;
use vmferry_store::manifest::SaveMode;

use super::channel::ChannelHandle;
use super::failure::Failure;
use super::intake::{Intake, Taken};
use super::pace::Pace;
use super::pause::Pause;
use crate::guardian::{BEAT, Plan};
use crate::migration::{DOWNTIME_LIMIT, Glance, LONGEST_DOWNTIME, Status};
use crate::qmp::{self, Client, Event, Events, Pending};
use crate::ui::{Interrupted, Progress, RamSnapshot, Signals, Snapshot, StoreSnapshot};

/// Rounds over the dirty pages after which a guest that writes faster than we read is stopped for the
/// rest, and the time after which that is done anyway.
const LIVE_ROUNDS: u64 = 12;
const LIVE_TIME: Duration = Duration::from_secs(300);

/// How many times longer than the store QEMU may do nothing: on a busy host it may not run for a while.
const QEMU_PATIENCE: u32 = 3;

/// All that is looked at while a stream is read.
pub(super) struct Waiting<'a> {
    pub(super) client: &'a Client,
    pub(super) mode: &'a SaveMode,
    pub(super) plan: &'a Plan,
    /// Where the store is, for messages.
    pub(super) location: String,
    pub(super) stall_timeout: Duration,
    pub(super) signals: &'a Signals,
    pub(super) events: &'a Events,
    pub(super) intake: &'a Intake,
    pub(super) channel: &'a ChannelHandle,
    pub(super) progress: &'a mut Progress,
    pub(super) pause: &'a mut Pause,
    /// What went otherwise than was asked for.
    pub(super) notes: &'a mut Vec<String>,
    /// Whether QEMU is to stop the guest by itself; its limit is put back as soon as it has.
    pub(super) stops_itself: bool,
}

/// What is known after each look.
struct Seen<'a> {
    began: Instant,
    /// How many pages had arrived, and when the last one did.
    pages: u64,
    moved: Instant,
    glance: Glance<'a>,
    pace: Pace<'a>,
    /// A limit that is being put back.
    limit: Option<Pending<'a>>,
    /// A live machine that QEMU has been asked to stop.
    hurried: bool,
}

impl<'a> Waiting<'a> {
    /// Waits.
    pub(super) fn run(mut self) -> Result<Taken, Failure> {
        let now = Instant::now();
        let mut seen = Seen {
            began: now,
            pages: 0,
            moved: now,
            glance: Glance::new(self.client),
            pace: Pace::new(self.client),
            limit: None,
            hurried: false,
        };
        let beat: Receiver<Instant> = tick(BEAT);
        let mut events = self.events.receiver().clone();
        loop {
            select! {
                recv(self.intake.done()) -> taken => {
                    return taken.context("the thread that reads the stream has died").map_err(Into::into);
                }
                recv(self.signals.receiver()) -> signal => {
                    return Err(signal.unwrap_or(Interrupted(2)).into());
                }
                recv(events) -> event => match event {
                    Ok(event) => self.see(&event, &mut seen),
                    Err(_) => {
                        // The stream's end says more than that of the monitor. If it does not come, the
                        // clock ends this.
                        events = never();
                        self.channel.finish();
                    }
                },
                recv(beat) -> now => self.look(now.unwrap_or_else(|_| Instant::now()), &mut seen)?,
            }
        }
    }

    fn see(&mut self, event: &Event, seen: &mut Seen<'a>) {
        self.pause.see(event);
        if matches!(
            event.migration_status(),
            Some("completed" | "failed" | "cancelled")
        ) {
            self.channel.finish();
        }
        if event.name == "STOP" && self.stops_itself {
            // At once, so that a save that is killed from now on leaves nothing that would stop the guest
            // in its next migration. Its monitor may be dead until the stream has been read: nobody waits for it.
            if let Some(before) = self.plan.changed.parameter_before(DOWNTIME_LIMIT) {
                seen.limit = self
                    .client
                    .begin("migrate-set-parameters", json!({DOWNTIME_LIMIT: before}))
                    .ok();
            }
        }
    }

    fn look(&mut self, now: Instant, seen: &mut Seen<'a>) -> Result<(), Failure> {
        let stalled = self.intake.progress().stalled(now);
        if stalled.is_some_and(|stalled| stalled > self.stall_timeout) {
            return Err(anyhow!(
                "the store in {} has taken nothing for {:?} (--stall-timeout): is its disk full or hanging?",
                self.location,
                self.stall_timeout
            )
            .into());
        }
        let pages = self.intake.progress().counters().pages;
        if pages != seen.pages || stalled.is_some() {
            (seen.pages, seen.moved) = (pages, now);
        }
        let patience = self.stall_timeout * QEMU_PATIENCE;
        if now.saturating_duration_since(seen.moved) > patience {
            return Err(anyhow!(
                "QEMU has sent nothing for {patience:?} (three times --stall-timeout), after {pages} pages: does it stand still?",
            )
            .into());
        }
        let paced = match self.channel.read_and_ahead() {
            Some((read, ahead)) => seen.pace.keep(now, read, ahead),
            None => Ok(()),
        };
        match paced.and_then(|()| seen.glance.look()) {
            Ok(Some(status)) => {
                self.show(&status);
                self.hurry(&status, seen)
            }
            // Without a monitor, the stream may still come to its end.
            Ok(None) | Err(qmp::Error::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A guest that changes its memory faster than it can be read is stopped for the rest.
    fn hurry(&mut self, status: &Status, seen: &mut Seen<'a>) -> Result<(), Failure> {
        let is_live = *self.mode == SaveMode::Precopy;
        let converges =
            status.ram.dirty_sync_count <= LIVE_ROUNDS && seen.began.elapsed() <= LIVE_TIME;
        if !is_live || seen.hurried || converges || status.name() != "active" {
            return Ok(());
        }
        self.client.execute(
            "migrate-set-parameters",
            json!({DOWNTIME_LIMIT: LONGEST_DOWNTIME}),
        )?;
        seen.hurried = true;
        self.stops_itself = true;
        self.notes.push(
            "the guest changed its memory faster than it could be read, and was \
             stopped for the rest"
                .to_owned(),
        );
        Ok(())
    }

    fn show(&mut self, status: &Status) {
        let counters = self.intake.progress().counters();
        let page = self.intake.page_bytes();
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
}
