//! The ways to save a guest: ours, and QEMU's own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vmferry_benches::PeakMemory;
use vmferry_tests::{Guest, PATIENCE, Vmferry};

/// What the guest does while it is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Snapshot,
    Stop,
    Live,
}

/// Who saves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saver {
    Vmferry,
    /// With `--channel socket`, for snapshots, which otherwise go through memory.
    Socket,
    /// `migrate "exec:zstd -1 -T2 > FILE"`, and a `sync` of it.
    Zstd,
    /// `migrate "exec:cat > FILE"`, and a `sync` of it.
    Raw,
}

impl Mode {
    pub(super) const ALL: [Self; 3] = [Self::Snapshot, Self::Stop, Self::Live];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Stop => "stop",
            Self::Live => "live",
        }
    }
}

impl Saver {
    pub(super) const ALL: [Self; 4] = [Self::Vmferry, Self::Zstd, Self::Raw, Self::Socket];

    /// Whether it differs from the others in this mode.
    pub(super) fn saves_in(self, mode: Mode) -> bool {
        self != Self::Socket || mode == Mode::Snapshot
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Vmferry => "vmferry save",
            Self::Socket => "… through a socket",
            Self::Zstd => "exec:zstd -1 -T2",
            Self::Raw => "exec:cat",
        }
    }
}

/// What a save was like.
pub(super) struct Saved {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    /// From STOP to RESUME.
    pub(super) pause: Option<Duration>,
    pub(super) bytes: u64,
    /// Of all processes of ours, in MiB.
    pub(super) peak_mib: Option<f64>,
}

/// Saves `guest` once. Its disk is as it was before when this is over.
pub(super) fn save(guest: &Guest, mode: Mode, saver: Saver, vmferry: &Vmferry) -> Result<Saved> {
    let events = guest.qmp().subscribe();
    let began = Instant::now();
    let (bytes, peak_mib) = match saver {
        Saver::Vmferry | Saver::Socket => {
            let qmp = format!("unix:{}", guest.qmp_path().display());
            let words = ["save", "guest", "--qmp", &qmp, "--mode", mode.name()];
            let channel: &[&str] = match saver {
                Saver::Socket => &["--channel", "socket"],
                _ => &[],
            };
            let mut run = vmferry.start([&words, channel].concat())?;
            let peak = PeakMemory::watch(run.process().id());
            ensure!(run.wait()?.success(), "{}", run.stderr());
            (None, Some(peak.mib()))
        }
        Saver::Zstd => (Some(qemu(guest, mode, "zstd -q -1 -T2")?), None),
        Saver::Raw => (Some(qemu(guest, mode, "cat")?), None),
    };
    let ended = Instant::now();
    let bytes = match bytes {
        Some(bytes) => bytes,
        None => stored(vmferry.store())?,
    };
    let mut stopped = None;
    let mut pause = None;
    for event in events.receiver().try_iter() {
        match (event.name.as_str(), event.timestamp_us, stopped) {
            ("STOP", at, _) => stopped = at,
            ("RESUME", Some(at), Some(since)) => pause = u64::try_from(at - since).ok(),
            _ => {}
        }
    }
    Ok(Saved {
        began,
        ended,
        pause: pause.map(Duration::from_micros),
        bytes,
        peak_mib,
    })
}

/// As an administrator would do it by hand; gives the size of the file.
fn qemu(guest: &Guest, mode: Mode, filter: &str) -> Result<u64> {
    let file = guest.folder().join("saved");
    let capabilities = json!([
        {"capability": "background-snapshot", "state": mode == Mode::Snapshot},
        {"capability": "events", "state": true},
    ]);
    let parameters = json!({"max-bandwidth": 0});
    guest.execute(
        "migrate-set-capabilities",
        json!({"capabilities": capabilities}),
    )?;
    guest.execute("migrate-set-parameters", parameters)?;
    if mode == Mode::Stop {
        guest.stop()?;
    }
    let (events, path) = (guest.qmp().subscribe(), file.display());
    // QEMU may say that it is through before the command is.
    let done = file.with_extension("done");
    let uri = format!(
        "exec:{filter} > '{path}' && sync '{path}' && mv '{path}' '{}'",
        done.display()
    );
    guest.execute("migrate", json!({"uri": uri}))?;
    let ended = events.wait_for("the end", Instant::now() + PATIENCE, |event| {
        let status = event.migration_status()?;
        ["completed", "failed"]
            .contains(&status)
            .then(|| status.to_owned())
    })?;
    ensure!(ended == "completed", "{filter}: {ended}");
    let deadline = Instant::now() + PATIENCE;
    // The monitor refuses it until the command has ended.
    while mode != Mode::Snapshot && guest.qmp().execute("cont", Value::Null).is_err() {
        ensure!(Instant::now() < deadline, "the guest cannot go on");
        std::thread::sleep(Duration::from_millis(1));
    }
    let off = json!([{"capability": "background-snapshot", "state": false}]);
    guest.execute("migrate-set-capabilities", json!({"capabilities": off}))?;
    while !done.exists() {
        ensure!(Instant::now() < deadline, "{filter} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    let bytes = done.metadata()?.len();
    std::fs::remove_file(&done)?;
    ensure!(guest.execute("query-status", Value::Null)?["status"] == "running");
    Ok(bytes)
}

/// Bytes in all files below `folder`.
pub(super) fn stored(folder: &Path) -> Result<u64> {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => bytes += entry.metadata()?.len(),
            }
        }
    }
    Ok(bytes)
}
