//! What a lazy restore owes to a guest that runs while its memory is still on its way.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use vmferry_tests::{Backend, Guest, PATIENCE, Release, Spec, Vmferry};

/// A guest whose memory takes a while.
fn large(release: Release) -> Spec {
    Spec::pattern(release, "q35")
        .memory(512, Backend::Anonymous)
        .tell(|pattern| {
            (
                pattern.checked_mib,
                pattern.zero_percent,
                pattern.text_percent,
            ) = (400, 0, 50);
            pattern.rewrite_percent = 10;
        })
}

fn saved(spec: &Spec) -> Result<Vmferry> {
    let vmferry = Vmferry::new()?;
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    vmferry.save(&source, "guest", "snapshot")?;
    Ok(vmferry)
}

fn migration(guest: &Guest) -> Result<String> {
    let status = guest.execute("query-migrate", Value::Null)?;
    Ok(status["status"]
        .as_str()
        .context("no migration")?
        .to_owned())
}

#[test]
fn a_guest_whose_source_is_killed_waits_and_is_not_lost() -> Result<()> {
    for release in Release::ALL {
        let spec = large(release);
        let vmferry = saved(&spec)?;
        let guest = spec.incoming("defer").start()?;
        let qmp = format!("unix:{}", guest.qmp_path().display());
        let run = vmferry.start(["restore", "guest", "--qmp", &qmp, "--lazy"])?;
        guest.wait_for_state("running")?;
        run.process().signal(Signal::KILL)?;
        let deadline = std::time::Instant::now() + PATIENCE;
        while migration(&guest)? != "postcopy-paused" {
            ensure!(
                migration(&guest)? == "postcopy-active",
                "{}",
                migration(&guest)?
            );
            ensure!(
                std::time::Instant::now() < deadline,
                "{release}: {}",
                migration(&guest)?
            );
        }
        ensure!(guest.run_state()? == "running");
    }
    Ok(())
}

#[test]
fn a_restore_that_is_killed_before_the_guest_runs_is_told_apart() -> Result<()> {
    // QEMU has the stream, but no guest yet: it ends with an error of its own.
    let spec = Spec::pattern(Release::V10_0, "pc");
    let vmferry = saved(&spec)?;
    let wrong = spec
        .memory(48, Backend::Anonymous)
        .incoming("defer")
        .start()?;
    let qmp = format!("unix:{}", wrong.qmp_path().display());
    for options in [&["--lazy"][..], &[]] {
        let words = [&["restore", "guest", "--qmp", &qmp], options].concat();
        let ended = vmferry.run(words)?;
        let said = ended.refused()?;
        ensure!(said.contains("was not restored"), "{said}");
        ensure!(!said.contains("postcopy-paused"), "{said}");
        break;
    }
    let log = wrong.log();
    ensure!(log.contains("Size mismatch: pc.ram"), "{log}");
    Ok(())
}

#[test]
fn one_interrupt_warns_and_the_guest_gets_all_of_its_memory() -> Result<()> {
    let spec = large(Release::V10_0);
    let vmferry = saved(&spec)?;
    let guest = spec.incoming("defer").start()?;
    let qmp = format!("unix:{}", guest.qmp_path().display());
    let run = vmferry.start(["restore", "guest", "--qmp", &qmp, "--lazy"])?;
    guest.wait_for_state("running")?;
    run.process().signal(Signal::INT)?;
    let ended = run.end()?;
    ended.succeeded()?;
    ensure!(
        ended.stderr.contains("interrupt once more"),
        "{}",
        ended.stderr
    );
    ensure!(migration(&guest)? == "completed");
    guest.wait_for_passes(3)?;
    Ok(())
}

#[test]
fn a_lazy_restore_sends_what_the_guest_asks_for_before_all_else() -> Result<()> {
    for release in Release::ALL {
        let spec = large(release);
        let vmferry = saved(&spec)?;
        let guest = spec.incoming("defer").start()?;
        let report = vmferry.restore(&guest, "guest", &["--lazy"])?;
        let number = |name: &str| report[name].as_f64().with_context(|| report.to_string());
        ensure!(number("pages_on_demand")? > 0.0, "{report}");
        ensure!(number("pages_on_demand")? < number("pages")?, "{report}");
        // It runs long before its memory is there: that is what it is for.
        ensure!(number("running_ms")? < number("total_ms")?, "{report}");
        ensure!(migration(&guest)? == "completed");
        guest.wait_for_passes(2)?;
    }
    Ok(())
}
