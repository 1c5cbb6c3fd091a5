//! Whatever happens to a save, its guest goes on, no checkpoint appears, and the next save works.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use vmferry_tests::vmferry::Run;
use vmferry_tests::{Backend, Disk, Guest, PATIENCE, Release, Spec, Vmferry};

/// The modes, and a guest for each, large enough that a save can be caught in the middle.
fn guests() -> Vec<(Release, &'static str)> {
    let modes = ["snapshot", "stop", "live"];
    Release::ALL
        .into_iter()
        .flat_map(|release| modes.map(|mode| (release, mode)))
        .collect()
}

fn start(release: Release) -> Result<Guest> {
    // Noise, so that the store has something to write.
    let spec = Spec::pattern(release, "q35")
        .memory(256, Backend::Anonymous)
        .tell(|pattern| {
            (pattern.zero_percent, pattern.text_percent) = (0, 10);
            // A pass over some of it, so that passes are short.
            pattern.checked_mib = 192;
            pattern.rewrite_percent = 20;
        });
    let guest = spec.start()?;
    guest.wait_for_passes(1)?;
    Ok(guest)
}

/// How many saves are begun until one is met in its middle: one that QEMU stops by itself is there for a tenth of a second
/// only, before its monitor may be dead.
const BEGUN: u32 = 20;

/// Begins saves until QEMU is seen sending one.
fn in_the_middle(vmferry: &Vmferry, guest: &Guest, begin: impl Fn() -> Result<Run>) -> Result<Run> {
    for _ in 0..BEGUN {
        let run = begin()?;
        if is_sending(guest, &run)? {
            return Ok(run);
        }
        run.end()?.succeeded()?;
        vmferry.run(["delete", "guest@latest"])?.succeeded()?;
    }
    bail!("none of {BEGUN} saves was met in its middle")
}

/// Waits until QEMU is sending; false if the save is over before that was seen.
fn is_sending(guest: &Guest, run: &Run) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while run.process().is_running() {
        let status = guest.execute("query-migrate", Value::Null)?;
        let sent = status["ram"]["transferred"].as_u64().unwrap_or(0);
        if (status["status"] == "active" || status["status"] == "device") && sent > 0 {
            return Ok(true);
        }
        ensure!(Instant::now() < deadline, "no save in the middle: {status}");
    }
    Ok(false)
}

/// The guest runs, with the settings that it had; and no checkpoint has appeared.
fn is_unharmed(vmferry: &Vmferry, guest: &Guest) -> Result<()> {
    guest.wait_for_state("running")?;
    guest.wait_for_passes(2)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let on = capabilities(guest)?;
        let parameters = guest.execute("query-migrate-parameters", Value::Null)?;
        if on.is_empty() && parameters["max-bandwidth"] == 128 << 20 {
            break;
        }
        // The guardian puts settings back last.
        ensure!(
            Instant::now() < deadline,
            "settings are not put back: {on:?} {parameters}"
        );
    }
    ensure!(
        vmferry.checkpoints()?.is_empty(),
        "a checkpoint has appeared"
    );
    Ok(())
}

fn capabilities(guest: &Guest) -> Result<Vec<String>> {
    let list = guest.execute("query-migrate-capabilities", Value::Null)?;
    let list = list.as_array().context("no capabilities")?;
    let on = list.iter().filter(|capability| capability["state"] == true);
    Ok(on
        .map(|capability| capability["capability"].to_string())
        .collect())
}

/// The next save works, and leaves nothing of the failed one.
fn is_saved_next_time(vmferry: &Vmferry, guest: &Guest, mode: &str) -> Result<()> {
    vmferry.save(guest, "guest", mode)?;
    ensure!(vmferry.checkpoints()?.len() == 1);
    let left: Vec<_> = std::fs::read_dir(vmferry.store().join("tmp"))?.collect();
    ensure!(left.is_empty(), "{left:?}");
    guest.wait_for_passes(2)?;
    Ok(())
}

fn interrupted_by(signal: Signal, code: Option<i32>) -> Result<()> {
    for (release, mode) in guests() {
        let story = || -> Result<()> {
            let vmferry = Vmferry::new()?;
            let guest = start(release)?;
            let mut run = in_the_middle(&vmferry, &guest, || {
                vmferry.begin_save(&guest, "guest", mode)
            })?;
            run.process().signal(signal)?;
            ensure!(run.wait()?.code() == code, "{}", run.stderr());
            is_unharmed(&vmferry, &guest)?;
            drop(run);
            is_saved_next_time(&vmferry, &guest, mode)
        };
        story().with_context(|| format!("{release} {mode}"))?;
    }
    Ok(())
}

#[test]
fn a_guest_goes_on_when_its_save_is_killed() -> Result<()> {
    interrupted_by(Signal::KILL, None)
}

#[test]
fn a_guest_goes_on_when_its_save_is_interrupted() -> Result<()> {
    interrupted_by(Signal::INT, Some(130))
}

#[test]
fn a_guest_goes_on_when_the_disk_is_full() -> Result<()> {
    for (release, mode) in guests() {
        let story = || -> Result<()> {
            let disk = Disk::new(64)?;
            let full = Vmferry::with_store(disk.path().join("store"))?;
            let guest = start(release)?;
            let ended = full.begin_save(&guest, "guest", mode)?.end()?;
            ensure!(
                ended.refused()?.contains("No space left"),
                "{}",
                ended.stderr
            );
            is_unharmed(&full, &guest)?;
            let left: Vec<_> = std::fs::read_dir(full.store().join("tmp"))?.collect();
            ensure!(left.is_empty(), "{left:?}");
            is_saved_next_time(&Vmferry::new()?, &guest, mode)
        };
        story().with_context(|| format!("{release} {mode}"))?;
    }
    Ok(())
}

#[test]
fn a_guest_goes_on_when_the_disk_hangs() -> Result<()> {
    // 10.0 is stopped for less time than it takes to freeze a disk in the middle of it; cell 10.0/stop/disk-hangs of
    // `./x torture` judges the guest whenever that is.
    let lasting = |cell: &(Release, &str)| *cell != (Release::V10_0, "stop");
    for (release, mode) in guests().into_iter().filter(lasting) {
        let story = || -> Result<()> {
            let disk = Disk::new(512)?;
            let hanging = Vmferry::with_store(disk.path().join("store"))?;
            let guest = start(release)?;
            // The store itself is there before the disk hangs.
            hanging.save(&guest, "guest", "snapshot")?;
            hanging.run(["delete", "guest@latest"])?.succeeded()?;

            let qmp = format!("unix:{}", guest.qmp_path().display());
            let save = [
                "save",
                "guest",
                "--qmp",
                &qmp,
                "--mode",
                mode,
                "--stall-timeout",
                "1",
            ];
            let run = in_the_middle(&hanging, &guest, || hanging.start(save))?;
            let frozen = disk.freeze()?;
            // The save is over although its disk still hangs; its process cannot end before that does.
            guest.wait_for_state("running")?;
            guest.wait_for_passes(2)?;
            run.until_said("has taken nothing for 1s")?;
            drop(frozen);
            ensure!(run.end()?.status.code() == Some(2));
            is_unharmed(&hanging, &guest)?;
            is_saved_next_time(&hanging, &guest, mode)
        };
        story().with_context(|| format!("{release} {mode}"))?;
    }
    Ok(())
}

#[test]
fn a_guest_goes_on_when_its_save_hangs_altogether() -> Result<()> {
    for release in Release::ALL {
        let vmferry = Vmferry::new()?;
        let guest = start(release)?;
        let qmp = format!("unix:{}", guest.qmp_path().display());
        let save = ["save", "guest", "--qmp", &qmp, "--stall-timeout", "1"];
        let mut run = in_the_middle(&vmferry, &guest, || vmferry.start(save))?;
        run.process().signal(Signal::STOP)?;
        // The guardian kills it: two who speak to one monitor would be worse than none.
        ensure!(run.wait()?.code().is_none());
        is_unharmed(&vmferry, &guest)?;
        drop(run);
        is_saved_next_time(&vmferry, &guest, "snapshot")?;
    }
    Ok(())
}

#[test]
fn a_guest_goes_on_when_the_saver_of_a_stream_is_killed() -> Result<()> {
    for release in Release::ALL {
        let vmferry = Vmferry::new()?;
        let guest = start(release)?;
        let capabilities =
            serde_json::json!([{"capability": "background-snapshot", "state": true}]);
        let set = serde_json::json!({"capabilities": capabilities});
        guest.execute("migrate-set-capabilities", set)?;
        let uri = format!("exec:{}", vmferry.shell("save guest --stdin")?);
        guest.execute("migrate", serde_json::json!({"uri": uri}))?;
        let saver = saver_below(guest.pid())?;
        // Only then is there a store that could hold a checkpoint.
        until_it_exists(&vmferry.store().join("vmferry-store.json"))?;
        rustix::process::kill_process(saver, Signal::KILL)?;
        guest.wait_for_migration("completed")?;
        guest.wait_for_passes(2)?;
        ensure!(
            vmferry.checkpoints()?.is_empty(),
            "a checkpoint has appeared"
        );
    }
    Ok(())
}

fn until_it_exists(path: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !path.exists() {
        ensure!(Instant::now() < deadline, "no {}", path.display());
        std::thread::yield_now();
    }
    Ok(())
}

/// The process that reads the stream of `migrate "exec:…"`: the one that was started with `--guarded`.
fn saver_below(qemu: u32) -> Result<rustix::process::Pid> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let line = vmferry_tests::process::command_line(pid).unwrap_or_default();
            let guarded = line.last().is_some_and(|word| word == "--guarded");
            if guarded && descends_from(pid, qemu) {
                let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?);
                return pid.context("no process id");
            }
        }
        ensure!(Instant::now() < deadline, "no saver was started");
    }
}

fn descends_from(pid: u32, ancestor: u32) -> bool {
    let mut pid = pid;
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        pid = parent
            .and_then(|parent| parent.trim().parse().ok())
            .unwrap_or(0);
    }
    false
}
