//! Saving through a QMP socket.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use vmferry_store::manifest::{SaveMode, SaveRecord};
use vmferry_store::{Details, Manifest};

use super::attempt::{Attempt, Saved};
use super::disk_warnings;
use super::failure::Failure;
use super::refusal::{self, Guest};
use crate::args::{Global, Mode, Save};
use crate::guardian::{note, recover};
use crate::machine;
use crate::migration;
use crate::qmp::Client;
use crate::store;
use crate::ui::{self, Progress, Signals};

/// How long a monitor may take to greet: a proxy in between may have to reach it first.
pub(in crate::command) const GREETING: Duration = Duration::from_secs(15);

/// How long a monitor may at least take for a command.
const MONITOR: Duration = Duration::from_secs(5);

/// Saves the machine behind `socket`.
pub(super) fn run(global: &Global, save: &Save, socket: &Path) -> Result<Manifest> {
    // What can be wrong on our side is found out before the machine is touched.
    let signals = Signals::catch().context("cannot catch signals")?;
    let mut client = Client::connect(socket, GREETING).map_err(refusal::no_monitor)?;
    client.set_patience(save.stall_timeout().max(MONITOR));
    let left = note::find().unwrap_or_default();
    if let Some(recovered) = recover(&client, socket, left)? {
        ui::note(format_args!("{recovered}"));
    }
    let run_state = machine::run_state(&client)?;
    let guest = refusal::check_run_state(&run_state)?;
    refusal::check_migration(&migration::query(&client)?)?;
    let version = client
        .version()
        .context("the monitor did not say its version")?
        .clone();
    let mut details = Details {
        machine: machine::learn(&client)?,
        block_devices: machine::block_devices(&client)?,
        ..Details::default()
    };
    details.machine.run_state = Some(run_state.clone());

    let loses_pages = loses_pages(&client, &version)?;

    let store = store::open_or_create(global.store.as_deref())?;
    let mut progress = Progress::new(global.progress_style(), "save");
    let asked = save.mode.unwrap_or_default();
    let began = Instant::now();
    let mut modes = modes(asked, guest, &run_state).into_iter();
    let (mode, saved) = loop {
        let mode = modes.next().context("there is no mode left to try")?;
        let attempt = Attempt {
            client: &client,
            socket,
            version: &version,
            store: &store,
            vm: &save.vm,
            mode: mode.clone(),
            channel: save.channel.unwrap_or_default(),
            guest,
            stop_first: mode == SaveMode::Stop && loses_pages,
            stall_timeout: save.stall_timeout(),
            signals: &signals,
            progress: &mut progress,
        };
        match (attempt.run(), modes.len()) {
            (Ok(saved), _) => break (mode, saved),
            (Err(Failure::Refused(why)), 1..) => ui::note(format_args!(
                "QEMU takes no background snapshot of this machine ({why}): it is stopped instead"
            )),
            (Err(Failure::Refused(why)), 0) if mode == SaveMode::Snapshot => {
                return Err(refusal::no_snapshot(&client, asked, &why));
            }
            (Err(Failure::Refused(why)), 0) => {
                return Err(anyhow!("QEMU refuses to save this machine: {why}"));
            }
            (Err(Failure::Failed(error)), _) => {
                return Err(refusal::with_jobs(&client, &mode, error));
            }
        }
    };
    let manifest = publish(details, mode, saved, began)?;
    progress.clear();
    if guest == Guest::Still {
        ui::note(
            "the guest stands still as before. QEMU calls that 'postmigrate' now: 'cont' lets it go \
             on, and until then it cannot be saved again",
        );
    }
    Ok(manifest)
}

/// Whether this QEMU loses what a guest writes while its memory is copied: 7.2 does without KVM; of the versions
/// between that and 10.0 nothing is known.
fn loses_pages(client: &Client, version: &crate::qmp::Version) -> Result<bool> {
    if version.at_least(10, 0) {
        return Ok(false);
    }
    let kvm = client.execute("query-kvm", Value::Null)?;
    Ok(kvm.get("enabled") != Some(&Value::Bool(true)))
}

/// What is tried, in this order.
fn modes(mode: Mode, guest: Guest, run_state: &str) -> Vec<SaveMode> {
    if guest == Guest::Still {
        if mode != Mode::Stop && mode != Mode::Auto {
            ui::note(format_args!(
                "the guest stands still already ('{run_state}'): it is saved as with --mode stop, \
                 and stays so"
            ));
        }
        return vec![SaveMode::Stop];
    }
    match mode {
        Mode::Snapshot => vec![SaveMode::Snapshot],
        Mode::Stop => vec![SaveMode::Stop],
        Mode::Live => vec![SaveMode::Precopy],
        Mode::Auto => vec![SaveMode::Snapshot, SaveMode::Stop],
    }
}

fn publish(mut details: Details, mode: SaveMode, saved: Saved, began: Instant) -> Result<Manifest> {
    let microseconds = |duration: Duration| u64::try_from(duration.as_micros()).ok();
    details.save = SaveRecord {
        mode: Some(mode),
        tool: Some(format!("vmferry {}", env!("CARGO_PKG_VERSION"))),
        pause_us: saved.pause.and_then(microseconds),
        duration_us: microseconds(began.elapsed()),
    };
    details.stream_bytes = Some(saved.summary.bytes);
    details.warnings = disk_warnings(&details.block_devices);
    details.warnings.extend(saved.notes);
    saved
        .writer
        .publish(details)
        .context("the guest goes on, but its checkpoint could not be kept")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_stands_still_is_saved_as_it_stands_in_every_mode() {
        for mode in [Mode::Snapshot, Mode::Stop, Mode::Live, Mode::Auto] {
            assert_eq!(modes(mode, Guest::Still, "paused"), [SaveMode::Stop]);
        }
    }

    #[test]
    fn only_auto_falls_back() {
        let running = |mode| modes(mode, Guest::Running, "running");
        assert_eq!(running(Mode::Snapshot), [SaveMode::Snapshot]);
        assert_eq!(running(Mode::Live), [SaveMode::Precopy]);
        assert_eq!(running(Mode::Auto), [SaveMode::Snapshot, SaveMode::Stop]);
    }
}
