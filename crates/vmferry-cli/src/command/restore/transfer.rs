//! Sending a checkpoint to a QEMU that waits for it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Error, Result, anyhow, bail};
use crossbeam_channel::{bounded, select, tick};
use serde::Serialize;
use serde_json::json;
use vmferry::channel::{Duplex, Socket, SocketReader, SocketWriter};
use vmferry::machine::MachineState;
use vmferry::postcopy::{self, HostPages, Observer};
use vmferry::ram::PageSource;
use vmferry::save;
use vmferry::stream::{AbortHandle, Reader, ReaderConfig, Writer};
use vmferry_store::Checkpoint;

use super::arrival::Arrival;
use super::check::{Ready, Start, check, disk_is_held};
use super::explain::Failed;
use super::prepared::{FD_NAME, Prepared};
use crate::args::Restore;
use crate::command::machine_state;
use crate::command::save::missing_rights;
use crate::command::serve::stream_config;
use crate::qmp::{self, Client};
use crate::ui::{
    self, Interrupted, Progress, ProgressStyle, RamSnapshot, Signals, Snapshot, StoreSnapshot,
};

/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(200);

/// A restore into a QEMU that waits.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) restore: &'a Restore,
    pub(super) style: ProgressStyle,
    pub(super) signals: &'a Signals,
    /// Whether QEMU was started with `-S`, where that can be seen.
    pub(super) held_back: Option<bool>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The run state of the restored guest.
    pub(super) run_state: String,
    /// Why it does not run, where that was not asked for.
    #[serde(skip)]
    pub(super) stands_still: Option<&'static str>,
    /// Milliseconds from telling QEMU to begin until the guest ran, if it does.
    pub(super) running_ms: Option<f64>,
    /// Milliseconds until all of its memory was there.
    pub(super) total_ms: f64,
    /// Pages sent.
    pub(super) pages: u64,
    /// Pages that were sent because the guest waited for them.
    pub(super) pages_on_demand: u64,
}

/// What is seen of a transfer from the thread that waits for it.
#[derive(Default)]
struct Seen {
    progress: vmferry::progress::Progress,
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
        let ready = check(
            self.client,
            self.checkpoint,
            &state,
            self.restore,
            self.held_back,
        )?;
        let prepared = Prepared::set(self.client, self.restore.lazy);
        let mut prepared = prepared.map_err(|error| self.refused(error))?;
        let outcome = self.carry_out(&state, &ready, &mut prepared);
        if let Some(trouble) = prepared.put_back() {
            ui::warn(trouble);
        }
        outcome
    }

    /// Everything from the first byte to a guest that is there.
    fn carry_out(
        &self,
        state: &MachineState,
        ready: &Ready,
        prepared: &mut Prepared<'_>,
    ) -> Result<Outcome, Failed> {
        let base = rustix::param::page_size() as u64;
        let host_pages = HostPages {
            base,
            blocks: ready.ram.host_page_sizes(self.checkpoint.blocks(), base),
        };
        let (ours, theirs) = UnixStream::pair()?;
        self.client.getfd(FD_NAME, theirs.as_fd())?;
        drop(theirs);
        let events = self.client.subscribe();
        self.decide(ready, prepared)?;
        let (began, began_us) = (Instant::now(), unix_us());
        self.client
            .execute("migrate-incoming", json!({"uri": format!("fd:{FD_NAME}")}))?;
        let (pages, on_demand) = self.send(state, &host_pages, ours)?;
        let arrival = Arrival {
            client: self.client,
            events: &events,
            signals: self.signals,
            start: ready.start,
        };
        let arrived = arrival.wait().map_err(Failed::WhileTheGuestRan)?;
        let total_ms = began.elapsed().as_secs_f64() * 1e3;
        Ok(Outcome {
            run_state: arrived.run_state,
            stands_still: arrived.stands_still,
            running_ms: arrived.resumed_us.map(|at| {
                let us = u32::try_from(at.saturating_sub(began_us)).unwrap_or(u32::MAX);
                f64::from(us) / 1e3
            }),
            total_ms,
            pages,
            pages_on_demand: on_demand,
        })
    }

    fn decide(&self, ready: &Ready, prepared: &mut Prepared<'_>) -> Result<()> {
        match prepared.decide(ready.start) {
            Err(qmp::Error::Refused { description, .. }) if ready.start == Start::Runs => {
                bail!(disk_is_held(self.client, &description))
            }
            result => Ok(result?),
        }
    }

    fn refused(&self, error: qmp::Error) -> Error {
        let advice = match (&error, self.restore.lazy) {
            (qmp::Error::Refused { .. }, true) => match missing_rights(self.client) {
                Some(rights) => {
                    format!("this QEMU cannot restore lazily. {rights}; else leave --lazy out")
                }
                None => "this QEMU cannot restore lazily: leave --lazy out".into(),
            },
            _ => "this QEMU cannot be prepared".into(),
        };
        Error::from(error).context(advice)
    }

    /// Sends everything: how many pages that were, and how many of them were sent on demand.
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
        let (sender, done) = bounded(1);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                let sent = if self.restore.lazy {
                    let parts = (writer, reader);
                    self.send_lazily(state, host_pages, parts, &abort, &seen)
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
                    recv(show) -> _ => shown.show("active", &self.snapshot(&seen)),
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
            Ok(()) => Ok((seen.progress.sent(), seen.progress.on_demand())),
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
        save::precopy(&mut writer, state, self.checkpoint, &seen.progress)
            .context("the machine could not be sent to QEMU")
    }

    fn send_lazily(
        &self,
        state: &MachineState,
        host_pages: &HostPages,
        (writer, reader): (Writer<'_, SocketWriter>, SocketReader),
        abort: &AbortHandle,
        seen: &Seen,
    ) -> Result<()> {
        // Requests are small, and each is worth reading at once.
        let config = ReaderConfig {
            window: 4 << 10,
            ..ReaderConfig::default()
        };
        let parts = (writer, Reader::with_config(reader, &config));
        postcopy::serve(
            state,
            self.checkpoint,
            host_pages,
            parts,
            abort,
            &seen.progress,
            seen,
        )
        .context("the machine could not be sent to QEMU")
    }

    fn snapshot(&self, seen: &Seen) -> Snapshot {
        let page = self.checkpoint.page_size().bytes() as u64;
        Snapshot {
            ram: RamSnapshot {
                total: self.checkpoint.blocks().total_length(),
                transferred: seen.progress.sent() * page,
                duplicate: 0,
            },
            store: StoreSnapshot {
                stored: 0,
                on_demand: seen.progress.on_demand(),
            },
        }
    }
}

fn unix_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
