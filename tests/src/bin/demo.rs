//! What vmferry does, on one screen, with a real guest: `./x demo`.

use std::fmt;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use vmferry_cli::ui;
use vmferry_tests::{Guest, PATIENCE, Release, Spec, vmferry};

/// A way to save a guest and to bring it back, and what it cost.
struct Way {
    name: &'static str,
    pause: Duration,
    bytes: u64,
    running: Duration,
}

fn main() -> Result<()> {
    let program = vmferry::program()?;
    let spec = Spec::linux(Release::V10_0, "q35");
    println!(
        "{}\n",
        bold("A Linux guest in QEMU 10.0 (TCG, 2 CPUs), 512 MiB of memory, 64 MiB of it filled")
    );

    let began = Instant::now();
    let source = spec.start()?;
    source.wait_until_filled()?;
    let before = source.wait_for_sums(1)?;
    step(
        "boot",
        format_args!(
            "after {}, its checksum is {before}",
            ui::duration(began.elapsed())
        ),
    );

    // Below a name that the lab's next run clears away, should this one be cut short.
    let folder = tempfile::TempDir::with_prefix(format!("vmferry-lab-{}-", std::process::id()))?;
    let store = folder.path().join("store");
    let report = run(program, &store, &source, &["save", "demo"])?;
    let manifest = &report["manifest"];
    let pause = micros(&manifest["save"]["pause_us"])?;
    let bytes = size_of(&store)?;
    step(
        "save",
        format_args!(
            "it paused for {}, and runs on; {} on disk after {}",
            ui::duration(pause),
            ui::bytes(bytes),
            ui::duration(micros(&manifest["save"]["duration_us"])?)
        ),
    );
    source.wait_for_sums(1)?;

    let mut ways = Vec::new();
    for (name, save, load) in [
        ("QEMU, exec:zstd -1 -T2", "zstd -q -1 -T2", "zstd -dcq"),
        ("QEMU, exec:cat", "cat", "cat"),
    ] {
        let file = folder.path().join("file");
        let pause = stop_and_save(&source, save, &file)?;
        let bytes = file.metadata()?.len();
        let guest = spec.clone().incoming("defer").start()?;
        let running = load_and_run(&guest, load, &file)?;
        ways.push(Way {
            name,
            pause,
            bytes,
            running,
        });
    }
    source.kill();
    step("crash", format_args!("its QEMU is killed"));

    let guest = spec.incoming("defer").start()?;
    let report = run(program, &store, &guest, &["restore", "demo", "--lazy"])?;
    let millis = |name: &str| report[name].as_f64().context("a figure is missing");
    let running = Duration::from_secs_f64(millis("running_ms")? / 1e3);
    step(
        "restore",
        format_args!(
            "a new QEMU: the guest runs after {}; all of its memory was there after {}",
            ui::duration(running),
            ui::duration(Duration::from_secs_f64(millis("total_ms")? / 1e3))
        ),
    );
    let after = guest.wait_for_sums(2)?;
    ensure!(
        before == after,
        "the checksum was {before}, and is {after} after the restore"
    );
    step(
        "check",
        format_args!("{before} before, {after} after: the same"),
    );

    ways.insert(
        0,
        Way {
            name: "vmferry save, restore --lazy",
            pause,
            bytes,
            running,
        },
    );
    println!(
        "\n{}",
        bold(&format!(
            "{:<31}{:>14}{:>14}{:>18}",
            "", "guest paused", "on disk", "runs again after"
        ))
    );
    for way in ways {
        println!("{way}");
    }
    Ok(())
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<31}{:>14}{:>14}{:>18}",
            self.name,
            ui::duration(self.pause),
            ui::bytes(self.bytes),
            ui::duration(self.running)
        )
    }
}

fn step(name: &str, what: fmt::Arguments<'_>) {
    println!("{} {what}", bold(&format!("{name:<8}")));
}

fn bold(text: &str) -> String {
    match std::io::stdout().is_terminal() {
        true => format!("\x1b[1m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// Runs vmferry as a person would, with its progress in sight, and gives its result.
fn run(program: &Path, store: &Path, guest: &Guest, words: &[&str]) -> Result<Value> {
    let mut command = Command::new(program);
    command.args(words).arg("--json").arg("--store").arg(store);
    command
        .arg("--qmp")
        .arg(format!("unix:{}", guest.qmp_path().display()));
    println!("\n  $ vmferry {} --qmp unix:SOCKET", words.join(" "));
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("vmferry {}: {}", words.join(" "), output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// As an administrator would by hand; gives the time for which the guest stood still.
fn stop_and_save(guest: &Guest, filter: &str, file: &Path) -> Result<Duration> {
    let began = Instant::now();
    guest.stop()?;
    guest.migrate(&format!(
        "exec:{filter} > '{0}' && sync '{0}'",
        file.display()
    ))?;
    // The monitor refuses it until the command has ended.
    while guest.qmp().execute("cont", Value::Null).is_err() {
        ensure!(began.elapsed() < PATIENCE, "the guest cannot go on");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(began.elapsed())
}

fn load_and_run(guest: &Guest, filter: &str, file: &Path) -> Result<Duration> {
    let events = guest.qmp().subscribe();
    let on = json!([{"capability": "events", "state": true}]);
    guest.execute("migrate-set-capabilities", json!({"capabilities": on}))?;
    let began = Instant::now();
    let uri = format!("exec:{filter} '{}'", file.display());
    guest.execute("migrate-incoming", json!({"uri": uri}))?;
    events.wait_for("the end", began + PATIENCE, |event| {
        (event.migration_status() == Some("completed")).then_some(())
    })?;
    guest.cont()?;
    Ok(began.elapsed())
}

fn micros(value: &Value) -> Result<Duration> {
    Ok(Duration::from_micros(
        value.as_u64().context("a figure is missing")?,
    ))
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => size_of(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}
