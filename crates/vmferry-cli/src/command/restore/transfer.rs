//! Sending a checkpoint to a QEMU that waits for it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Error, Result, anyhow, bail};
use crossbeam_channel::{RecvTimeoutError, bounded, select, tick};
use serde::Serialize;
use serde_json::{Value, json};
use vmferry::channel::{Duplex, Socket, SocketReader, SocketWriter};
use vmferry::postcopy::{self, HostPages, Observer};
use vmferry::ram::PageSource;
use vmferry::save::{self, MachineState};
use vmferry::stream::{AbortHandle, Reader, ReaderConfig, Writer};
use vmferry_store::Checkpoint;

use crate::args::Restore;
use crate::command::machine_state;
use crate::command::serve::stream_config;
use crate::machine::{self, RamListing};
use crate::migration::{self, Wanted};
use crate::qmp::{self, Client, Events};
use crate::ui::{
    self, Interrupted, Progress, ProgressStyle, RamSnapshot, Signals, Snapshot, StoreSnapshot,
};

/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(200);

/// How long QEMU may take to complete once it has everything.
const COMPLETE: Duration = Duration::from_secs(60);

/// How often the state is asked for when no event tells of it.
const LOOK: Duration = Duration::from_millis(20);

/// Names QEMU's end of the channel.
const FD_NAME: &str = "vmferry-incoming";

/// A restore into a QEMU that waits.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) restore: &'a Restore,
    pub(super) style: ProgressStyle,
    pub(super) signals: &'a Signals,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The run state of the restored guest.
    pub(super) run_state: String,
    /// Milliseconds from telling QEMU to begin until the guest ran, if it does.
    pub(super) running_ms: Option<f64>,
    /// Milliseconds until all of its memory was there.
    pub(super) total_ms: f64,
    /// Pages sent.
    pub(super) pages: u64,
    /// Pages that were sent because the guest waited for them.
    pub(super) pages_on_demand: u64,
}

/// When it went wrong.
pub(super) enum Failed {
    /// There is no guest: nothing is lost.
    BeforeTheGuestRan(Error),
    /// The guest has begun to run, and lacks memory.
    WhileTheGuestRan(Error),
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::BeforeTheGuestRan(error.into())
    }
}

/// What is seen of a transfer from the thread that waits for it.
#[derive(Default)]
struct Seen {
    pages: AtomicU64,
    package_sent: AtomicBool,
}

impl Observer for Seen {
    fn package_sent(&self) {
        self.package_sent.store(true, Ordering::Release);
    }
}

impl Transfer<'_> {
    pub(super) fn run(&self) -> Result<Outcome, Failed> {
        let state = machine_state(self.checkpoint)?;
        let there = self.check(&state)?;
        let wanted = match self.restore.lazy {
            true => Wanted::lazy_destination(),
            false => Wanted::plain(),
        };
        let changed = wanted
            .set(self.client)
            .map_err(|error| self.refused(error))?;
        let runs = !self.restore.paused && state_runs(self.checkpoint, &state);
        // While it waits, these two decide whether the guest runs in the end.
        self.client
            .execute(if runs { "cont" } else { "stop" }, Value::Null)?;

        let base = rustix::param::page_size() as u64;
        let host_pages = HostPages {
            base,
            blocks: there.host_page_sizes(self.checkpoint.blocks(), base),
        };
        let (ours, theirs) = UnixStream::pair()?;
        self.client.getfd(FD_NAME, theirs.as_fd())?;
        drop(theirs);
        let events = self.client.subscribe();
        let (began, began_us) = (Instant::now(), unix_us());
        self.client
            .execute("migrate-incoming", json!({"uri": format!("fd:{FD_NAME}")}))?;
        let (pages, on_demand) = self.send(&state, &host_pages, ours)?;
        let (run_state, resumed_us) = self.complete(&events, runs)?;
        let total_ms = began.elapsed().as_secs_f64() * 1e3;
        // Nothing is under way that would keep it from being put back.
        changed.put_back(self.client)?;
        Ok(Outcome {
            run_state,
            running_ms: resumed_us.map(|at| {
                let us = u32::try_from(at.saturating_sub(began_us)).unwrap_or(u32::MAX);
                f64::from(us) / 1e3
            }),
            total_ms,
            pages,
            pages_on_demand: on_demand,
        })
    }

    /// Whether this QEMU waits, and for such a machine; and the RAM that it has.
    fn check(&self, state: &MachineState) -> Result<RamListing> {
        let run_state = machine::run_state(self.client)?;
        if run_state != "inmigrate" {
            bail!(
                "this QEMU does not wait for a machine (run state '{run_state}'): start one with \
                 '-incoming defer'"
            );
        }
        let status = migration::query(self.client)?;
        if status.status.is_some() {
            bail!(
                "this QEMU has begun to load a machine already (status '{}'): start one with \
                 '-incoming defer'",
                status.name()
            );
        }
        let recorded = state
            .configuration
            .as_ref()
            .map(|configuration| &configuration.machine);
        if let (Some(there), Some(recorded)) = (machine::machine_type(self.client)?, recorded) {
            if there != *recorded {
                bail!(
                    "the checkpoint is of a machine of type '{recorded}', this QEMU is a '{there}': \
                     start it with '-machine {recorded}'"
                );
            }
        }
        let there = RamListing::query(self.client)?;
        match there.mismatch(self.checkpoint.blocks()) {
            Some(mismatch) => bail!(mismatch),
            None => Ok(there),
        }
    }

    fn refused(&self, error: qmp::Error) -> Error {
        let advice = match (&error, self.restore.lazy) {
            (qmp::Error::Refused { .. }, true) => {
                "this QEMU cannot restore lazily. If it runs as an ordinary user, allow it with \
                 'sysctl vm.unprivileged_userfaultfd=1'; else leave --lazy out"
            }
            _ => "this QEMU cannot be prepared",
        };
        Error::from(error).context(advice)
    }

    /// Sends everything, and tells how many pages, and how many of them on demand.
    fn send(
        &self,
        state: &MachineState,
        host_pages: &HostPages,
        ours: UnixStream,
    ) -> Result<(u64, u64), Failed> {
        let (reader, writer) = Socket::from(ours).split();
        let writer = Writer::with_config(writer, &stream_config());
        let abort = writer.abort_handle();
        let seen = Seen::default();
        let progress = postcopy::Progress::default();
        let (sender, done) = bounded(1);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                let sent = if self.restore.lazy {
                    let parts = (writer, reader);
                    self.send_lazily(state, host_pages, parts, &abort, &progress, &seen)
                } else {
                    self.send_all(state, writer, &seen)
                };
                // The receiver waits until this has come.
                let _ = sender.send(sent);
            });
            let mut shown = Progress::new(self.style, "restore");
            let mut interrupted = None;
            let show = tick(SHOW);
            loop {
                select! {
                    recv(done) -> sent => break match (sent, interrupted) {
                        (Ok(Err(_)), Some(signal)) => Err(Error::from(signal)),
                        (sent, _) => sent.unwrap_or_else(|_| Err(anyhow!("the sending thread died"))),
                    },
                    recv(show) -> _ => shown.show("active", &self.snapshot(&progress, &seen)),
                    recv(self.signals.receiver()) -> signal => {
                        let signal = signal.unwrap_or(Interrupted(2));
                        if seen.package_sent.load(Ordering::Acquire) && interrupted.is_none() {
                            shown.clear();
                            ui::warn(
                                "the guest runs already, and needs the rest of its memory; interrupt \
                                 once more to leave it waiting in 'postcopy-paused'",
                            );
                            interrupted = Some(signal);
                            continue;
                        }
                        interrupted = Some(signal);
                        // The transport may be gone already.
                        let _ = abort.abort();
                    }
                }
            }
        });
        match result {
            Ok(()) => Ok((
                seen.pages.load(Ordering::Relaxed) + progress.sent.load(Ordering::Relaxed),
                progress.on_demand.load(Ordering::Relaxed),
            )),
            Err(error) if seen.package_sent.load(Ordering::Acquire) => {
                Err(Failed::WhileTheGuestRan(error))
            }
            Err(error) => Err(Failed::BeforeTheGuestRan(error)),
        }
    }

    fn send_all(
        &self,
        state: &MachineState,
        mut writer: Writer<'_, SocketWriter>,
        seen: &Seen,
    ) -> Result<()> {
        save::precopy(&mut writer, state, self.checkpoint, &mut |pages| {
            seen.pages.fetch_add(pages, Ordering::Relaxed);
        })
        .context("the machine could not be sent to QEMU")
    }

    fn send_lazily(
        &self,
        state: &MachineState,
        host_pages: &HostPages,
        (writer, reader): (Writer<'_, SocketWriter>, SocketReader),
        abort: &AbortHandle,
        progress: &postcopy::Progress,
        seen: &Seen,
    ) -> Result<()> {
        // Requests are small, and each is worth reading at once.
        let config = ReaderConfig {
            window: 4 << 10,
            ..ReaderConfig::default()
        };
        let parts = (writer, Reader::with_config(reader, &config));
        let abort = || drop(abort.abort());
        postcopy::serve(
            state,
            self.checkpoint,
            host_pages,
            parts,
            &abort,
            progress,
            seen,
        )
        .context("the machine could not be sent to QEMU")
    }

    fn snapshot(&self, progress: &postcopy::Progress, seen: &Seen) -> Snapshot {
        let page = self.checkpoint.page_size().bytes() as u64;
        let on_demand = progress.on_demand.load(Ordering::Relaxed);
        let sent = seen.pages.load(Ordering::Relaxed) + progress.sent.load(Ordering::Relaxed);
        Snapshot {
            ram: RamSnapshot {
                total: self.checkpoint.blocks().total_length(),
                transferred: sent * page,
                duplicate: 0,
            },
            store: StoreSnapshot {
                stored: 0,
                on_demand,
            },
        }
    }

    /// Waits until QEMU has taken everything, and the guest is in the state that it is to be in. Tells
    /// which one, and when the guest began to run.
    fn complete(&self, events: &Events, runs: bool) -> Result<(String, Option<i64>)> {
        let began = Instant::now();
        let mut resumed_us = None;
        loop {
            match events.receiver().recv_timeout(LOOK) {
                Ok(event) => {
                    if event.name == "RESUME" {
                        resumed_us = resumed_us.or(event.timestamp_us);
                    }
                    if !events.receiver().is_empty() {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("QEMU has gone while it loaded the machine")
                }
            }
            let status = migration::query(self.client)?;
            let run_state = machine::run_state(self.client)?;
            // Somebody else may have let a paused one go on by now.
            let is_there = run_state != "inmigrate" && (run_state == "running" || !runs);
            if status.is_completed() && is_there && (resumed_us.is_some() || !runs) {
                return Ok((run_state, resumed_us));
            }
            if status.name() == "failed" {
                bail!(
                    "QEMU could not load the machine: {}",
                    status.error_desc.unwrap_or_default()
                );
            }
            if began.elapsed() > COMPLETE {
                bail!(
                    "QEMU has everything, but does not complete (migration '{}', run state '{run_state}')",
                    status.name()
                );
            }
        }
    }
}

/// Whether the guest ran when it was saved.
fn state_runs(checkpoint: &Checkpoint, state: &MachineState) -> bool {
    let recorded = checkpoint
        .manifest()
        .machine
        .run_state
        .as_deref()
        .or_else(|| state.run_state());
    // A machine type too old to say it always runs.
    recorded.is_none_or(|run_state| run_state == "running")
}

fn unix_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
