//! How soon a guest runs when all of its memory is loaded first, beside QEMU reading its own files.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry_benches::Figures;
use vmferry_tests::{Backend, Guest, PATIENCE, Release, Vmferry};

use super::Scale;

pub(super) fn run(scale: Scale) -> Result<()> {
    println!("\n# Full restore");
    println!("from migrate-incoming until QEMU says RESUME, s; files in the page cache");
    for release in Release::ALL {
        let spec = scale.guest(release, Backend::Anonymous);
        let vmferry = Vmferry::new()?;
        let source = spec.start()?;
        source.wait_until_filled()?;
        vmferry.save(&source, "guest", "snapshot")?;
        source.stop()?;
        let (raw, packed) = (source.folder().join("raw"), source.folder().join("zst"));
        source.migrate_to_file(&raw)?;
        let zstd = std::process::Command::new("zstd")
            .args(["-q", "-1", "-T2", "-o"])
            .args([&packed, &raw])
            .status();
        ensure!(zstd.context("zstd is missing")?.success());
        let (mut ours, mut zstd, mut plain) = <(Figures, Figures, Figures)>::default();
        let mut total = Figures::default();
        for _ in 0..scale.rounds {
            let guest = spec.clone().incoming("defer").start()?;
            let report = vmferry.restore(&guest, "guest", &[])?;
            let number = |name: &str| report[name].as_f64().context("a figure is missing");
            ours.push(number("running_ms")? / 1e3);
            total.push(number("total_ms")? / 1e3);
            drop(guest);
            zstd.push(load(
                &spec.clone().incoming("defer").start()?,
                "zstd -dcq",
                &packed,
            )?);
            plain.push(load(&spec.clone().incoming("defer").start()?, "cat", &raw)?);
        }
        println!("{release}  vmferry restore        {ours}");
        println!("{release}  exec:zstd -dc FILE     {zstd}");
        println!("{release}  exec:cat FILE          {plain}");
        println!(
            "{release}  zstd / vmferry {}   cat / vmferry {}",
            zstd.over(&ours),
            plain.over(&ours)
        );
    }
    Ok(())
}

/// Seconds until the guest runs.
fn load(guest: &Guest, command: &str, file: &Path) -> Result<f64> {
    let on = json!([{"capability": "events", "state": true}]);
    guest.execute("migrate-set-capabilities", json!({"capabilities": on}))?;
    let events = guest.qmp().subscribe();
    let uri = format!("exec:{command} '{}'", file.display());
    let began = Instant::now();
    guest.execute("migrate-incoming", json!({"uri": uri}))?;
    events.wait_for("the end", began + PATIENCE, |event| {
        (event.migration_status() == Some("completed")).then_some(())
    })?;
    // It was stopped when it was saved.
    guest.cont()?;
    Ok(began.elapsed().as_secs_f64())
}
