//! Takes a capture: starts the guests, migrates, and keeps what passed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Capture, Firmware, Way, When};
use crate::debian::run;
use crate::pattern::Report;
use crate::recorder::{Recorded, Recorder};
use crate::{Accel, Backend, Guest, PATIENCE, Program, Qemu, Release, Spec};

/// Bytes in a second: so few that the guest changes pages meanwhile. What a tenth of a second may carry goes
/// at once.
const SLOWLY: u64 = 1 << 20;

/// The same where most pages are much shorter than a page.
const VERY_SLOWLY: u64 = 64 << 10;

/// What SeaBIOS says when it finds nothing to start.
const NOTHING_TO_START: &str = "No bootable device.";

/// Files by the names of their parts.
type Parts = Vec<(&'static str, PathBuf)>;

pub(super) fn take(capture: &Capture, release: Release, folder: &Path) -> Result<u64> {
    // Below a name that the lab's next run clears away, should this one be cut short.
    let scratch = TempDir::with_prefix(format!("vmferry-lab-{}-", std::process::id()))?;
    let taken = match capture.way {
        Way::Stream => stream(capture, release, scratch.path()),
        Way::Mapped(offset) => mapped(capture, release, scratch.path(), offset),
        Way::Multifd => multifd(capture, release, scratch.path()),
        Way::Postcopy | Way::PostcopyAlone | Way::PostcopyRecovered => {
            postcopy(capture, release, scratch.path())
        }
        Way::Savevm => savevm(capture, release, scratch.path()),
    };
    let taken = taken.with_context(|| format!("{release}-{}", capture.name))?;
    let names: Vec<_> = taken.iter().map(|(part, _)| *part).collect();
    ensure!(
        names == capture.parts(),
        "{}: parts {names:?}",
        capture.name
    );
    let mut bytes = 0;
    for (part, file) in taken {
        let to = folder.join(capture.file(release, part));
        bytes += compress(&file, &to)?;
    }
    Ok(bytes)
}

/// As `zstd -19` does.
pub(super) fn compress(from: &Path, to: &Path) -> Result<u64> {
    let mut encoder = zstd::Encoder::new(File::create(to)?, 19)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(from.metadata()?.len()))?;
    io::copy(&mut File::open(from)?, &mut encoder)?;
    Ok(encoder.finish()?.metadata()?.len())
}

fn stream(capture: &Capture, release: Release, scratch: &Path) -> Result<Parts> {
    let source = source(capture, release, scratch)?;
    let file = scratch.join("stream");
    migrate(
        capture,
        &source,
        &format!("exec:cat > '{}'", file.display()),
    )?;
    Ok(vec![("stream", file)])
}

fn mapped(capture: &Capture, release: Release, scratch: &Path, offset: u64) -> Result<Parts> {
    let source = source(capture, release, scratch)?;
    let file = scratch.join("mapped");
    let uri = format!("file:{},offset={offset}", file.display());
    migrate(capture, &source, &uri)?;
    Ok(vec![("mapped", file)])
}

fn multifd(capture: &Capture, release: Release, scratch: &Path) -> Result<Parts> {
    let source = source(capture, release, scratch)?;
    let (destination, onward) = destination(capture, release, scratch)?;
    let recorder = Recorder::start(scratch, Some(&onward))?;
    migrate(capture, &source, &recorder.uri())?;
    destination.wait_for_migration("completed")?;
    // They connect in any order, and say which they are.
    let mut channels = [None, None, None];
    for connection in recorder.finish()? {
        let bytes = fs::read(&connection.sent)?;
        let (number, name) = match bytes.get(..25) {
            Some([b'Q', b'E', b'V', b'M', ..]) => (0, "main"),
            Some([0x11, 0x22, 0x33, 0x44, .., 0]) => (1, "0"),
            Some([0x11, 0x22, 0x33, 0x44, .., 1]) => (2, "1"),
            other => bail!("a channel that begins with {other:?}"),
        };
        channels[number] = Some((name, connection.sent));
    }
    Ok(channels.into_iter().flatten().collect())
}

fn postcopy(capture: &Capture, release: Release, scratch: &Path) -> Result<Parts> {
    let source = source(capture, release, scratch)?;
    let (destination, onward) = destination(capture, release, scratch)?;
    let recorder = Recorder::start(scratch, Some(&onward))?;
    // Some pages before the guest moves, some behind it, and time for it to ask for one.
    let bandwidth = match capture.way {
        // A machine that has never run is a few KiB.
        Way::PostcopyAlone => 1 << 10,
        _ => 1 << 20,
    };
    let slowly = json!({"max-bandwidth": bandwidth, "max-postcopy-bandwidth": 128 << 10});
    source.execute("migrate-set-parameters", slowly)?;
    source.execute("migrate", json!({"uri": recorder.uri()}))?;
    source.wait_for_migration("active")?;
    source.execute("migrate-start-postcopy", Value::Null)?;
    let mut names = match capture.way {
        Way::PostcopyAlone => vec![("stream", "")],
        _ => vec![("main", "back"), ("preempt", "")],
    };
    if capture.way == Way::PostcopyRecovered {
        source.wait_for_migration("postcopy-active")?;
        wait_for_answers(scratch, 60)?; // of which PONGs are 32
        recorder.cut();
        source.wait_for_migration("postcopy-paused")?;
        destination.wait_for_migration("postcopy-paused")?;
        let uri = format!("unix:{}", onward.display());
        destination.execute("migrate-recover", json!({"uri": uri}))?;
        let at_once = json!({"max-postcopy-bandwidth": 0});
        source.execute("migrate-set-parameters", at_once)?;
        let again = json!({"uri": recorder.uri(), "resume": true});
        source.execute("migrate", again)?;
        names = vec![("main", "back"), ("main2", "back2")];
    }
    source.wait_for_migration("completed")?;
    destination.wait_for_migration("completed")?;
    let mut parts = Vec::new();
    for (Recorded { sent, answered }, (there, back)) in recorder.finish()?.into_iter().zip(names) {
        parts.push((there, sent));
        if !back.is_empty() {
            parts.push((back, answered));
        }
    }
    Ok(parts)
}

/// Waits until that many bytes have come back on the main channel.
fn wait_for_answers(scratch: &Path, bytes: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let file = scratch.join("0.answered");
    while file.metadata()?.len() < bytes {
        ensure!(Instant::now() < deadline, "nobody asks for a page");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn savevm(capture: &Capture, release: Release, scratch: &Path) -> Result<Parts> {
    let disk = scratch.join("disk.qcow2");
    let mut create = Command::new(Qemu::get(release)?.img());
    create.args(["create", "-q", "-f", "qcow2"]);
    run(create.arg(&disk).arg("1M"))?;
    let source = source(capture, release, scratch)?;
    for name in ["first", "second"] {
        let said = source.qmp().human(&format!("savevm {name}"))?;
        ensure!(said.trim().is_empty(), "savevm: {said}");
    }
    source.quit()?;
    Ok(vec![("qcow2", disk)])
}

fn spec(capture: &Capture, release: Release, scratch: &Path) -> Result<Spec> {
    let mut extra = Vec::new();
    match capture.firmware.image()? {
        Some(image) => extra.extend(["-bios".to_owned(), image.display().to_string()]),
        // Where SeaBIOS says what it does.
        None if capture.firmware == Firmware::SeaBios => {
            extra.extend(["-device".to_owned(), debug_port("0x402")]);
        }
        None => {}
    }
    if capture.firmware == Firmware::Writes {
        extra.extend(["-device".to_owned(), debug_port("0xe9")]);
    }
    for argument in capture.arguments {
        let argument = argument.replace("FOLDER", &scratch.display().to_string());
        extra.extend(argument.split(' ').map(str::to_owned));
    }
    Ok(Spec {
        release,
        target: capture.target,
        machine: capture.machine.to_owned(),
        accel: Accel::Tcg,
        memory_mib: capture.memory_mib,
        backend: Backend::Anonymous,
        cpus: capture.cpus,
        program: Program::Firmware,
        incoming: None,
        paused: capture.when == When::Unborn,
        extra,
    })
}

fn debug_port(iobase: &str) -> String {
    format!("isa-debugcon,iobase={iobase},chardev=console")
}

/// The guest, as far as it shall be when it is migrated.
pub(super) fn source(capture: &Capture, release: Release, scratch: &Path) -> Result<Guest> {
    let guest = spec(capture, release, scratch)?.start()?;
    set(capture, &guest)?;
    for (command, arguments) in capture.before {
        guest.execute(command, serde_json::from_str(arguments)?)?;
    }
    if capture.when != When::Unborn {
        let deadline = Instant::now() + PATIENCE;
        let wanted = |line: &str| match capture.firmware {
            Firmware::Halts | Firmware::Other => true,
            Firmware::Writes => Report::parse(line) == Report::Filled,
            Firmware::SeaBios => line.contains(NOTHING_TO_START),
        };
        if !matches!(capture.firmware, Firmware::Halts | Firmware::Other) {
            let console = guest.console();
            let ready = console.wait_from(0, "its firmware", deadline, |line| {
                wanted(&line.text).then_some(())
            });
            guest.told(ready)?;
        }
    }
    if capture.when == When::Stopped {
        guest.stop()?;
    }
    Ok(guest)
}

/// A guest that waits for the source, and the socket at which it listens.
fn destination(capture: &Capture, release: Release, scratch: &Path) -> Result<(Guest, PathBuf)> {
    let guest = spec(capture, release, scratch)?.incoming("defer").start()?;
    set(capture, &guest)?;
    let onward = scratch.join("incoming");
    let uri = format!("unix:{}", onward.display());
    guest.execute("migrate-incoming", json!({"uri": uri}))?;
    Ok((guest, onward))
}

fn set(capture: &Capture, guest: &Guest) -> Result<()> {
    let capabilities = capture.capabilities.iter();
    let capabilities: Vec<_> = capabilities
        .map(|name| json!({"capability": name, "state": true}))
        .collect();
    let list = json!({"capabilities": capabilities});
    guest.execute("migrate-set-capabilities", list)?;
    let parameters: Value = serde_json::from_str(capture.parameters)?;
    guest.execute("migrate-set-parameters", parameters)?;
    Ok(())
}

/// Migrates to the end: a running guest slowly at first, until pages have come again.
fn migrate(capture: &Capture, guest: &Guest, uri: &str) -> Result<()> {
    let in_rounds = capture.when == When::Running
        && capture.firmware == Firmware::Writes
        && !capture.capabilities.contains(&"background-snapshot");
    if !in_rounds {
        return guest.migrate(uri);
    }
    let has = |name| capture.capabilities.contains(&name);
    let short = match has("multifd") {
        true => capture.parameters.contains("compression"),
        false => has("xbzrle") || has("compress"),
    };
    let bandwidth = if short { VERY_SLOWLY } else { SLOWLY };
    let slowly = json!({"max-bandwidth": bandwidth, "downtime-limit": 1});
    guest.execute("migrate-set-parameters", slowly)?;
    guest.execute("migrate", json!({"uri": uri}))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = guest.execute("query-migrate", Value::Null)?;
        if enough(&status) {
            break;
        }
        ensure!(
            status["status"] == "active" || status["status"] == "setup",
            "it ended before pages were sent again: {status}"
        );
        ensure!(
            Instant::now() < deadline,
            "no pages are sent again: {status}"
        );
    }
    let at_once = json!({"max-bandwidth": 0, "downtime-limit": 20_000});
    guest.execute("migrate-set-parameters", at_once)?;
    guest.wait_for_migration("completed")?;
    Ok(())
}

/// Whether pages have come again, more than once, and by all ways that are enabled.
fn enough(status: &Value) -> bool {
    let number = |part: &str, name: &str| status[part][name].as_u64().unwrap_or(0);
    // Counted among them: those that were too long, and went as pages.
    let differences =
        number("xbzrle-cache", "pages").saturating_sub(number("xbzrle-cache", "overflow"));
    let sent = number("ram", "normal")
        + number("ram", "duplicate")
        + number("compression", "pages")
        + differences;
    let again = sent.saturating_sub(number("ram", "total") / 4096);
    // With multifd none come, whatever is enabled.
    let wanted = if status["xbzrle-cache"].is_null() || number("ram", "multifd-bytes") > 0 {
        again >= 120
    } else {
        differences >= 100
    };
    number("ram", "dirty-sync-count") >= 4 && wanted
}
