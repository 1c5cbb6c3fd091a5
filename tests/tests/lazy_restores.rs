//! What a lazy restore owes to a guest that runs while its memory is still on its way.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use vmferry_tests::{Backend, Guest, PATIENCE, Release, Spec, Vmferry};

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
        let spec = Spec::large(release);
        let vmferry = saved(&spec)?;
        let guest = spec.incoming("defer").start()?;
        let on = json!([{"capability": "events", "state": true}]);
        guest.execute("migrate-set-capabilities", json!({"capabilities": on}))?;
        let events = guest.qmp().subscribe();
        let qmp = format!("unix:{}", guest.qmp_path().display());
        let run = vmferry.start(["restore", "guest", "--qmp", &qmp, "--lazy"])?;
        guest.wait_for_state("running")?;
        run.process().signal(Signal::KILL)?;
        // An event, because nothing else comes through for certain: a thread that delivers an
        // interrupt waits for memory with the lock that every command of the monitor needs.
        let paused = events.wait_for("the pause", Instant::now() + PATIENCE, |event| {
            (event.migration_status() == Some("postcopy-paused")).then_some(())
        });
        paused.with_context(|| release.to_string())?;
        ensure!(!guest.qmp().is_closed(), "{release} has ended");
    }
    Ok(())
}

#[test]
fn a_qemu_with_other_memory_is_refused_before_anything_is_sent() -> Result<()> {
    let spec = Spec::pattern(Release::V10_0, "pc");
    let vmferry = saved(&spec)?;
    let wrong = spec.memory(48, Backend::Anonymous).incoming("defer");
    let wrong = wrong.start()?;
    let qmp = format!("unix:{}", wrong.qmp_path().display());
    for options in [&["--lazy"][..], &[]] {
        let words = [&["restore", "guest", "--qmp", &qmp], options].concat();
        let ended = vmferry.run(words)?;
        let said = ended.refused()?;
        ensure!(said.contains("'pc.ram' has 33554432 bytes"), "{said}");
        // It waits as before, for whoever knows better.
        ensure!(wrong.run_state()? == "inmigrate");
    }
    Ok(())
}

#[test]
fn a_qemu_that_cannot_load_a_device_is_told_from_one_that_holds_a_guest() -> Result<()> {
    for release in Release::ALL {
        let spec = Spec::pattern(release, "pc");
        let vmferry = saved(&spec)?;
        let mut other = spec.clone();
        other.cpus = 1;
        let other = other.incoming("defer").start()?;
        let qmp = format!("unix:{}", other.qmp_path().display());
        let ended = vmferry.run(["restore", "guest", "--qmp", &qmp, "--lazy"])?;
        let said = ended.refused()?;
        ensure!(said.contains("was not restored"), "{said}");
        ensure!(!said.contains("postcopy-paused"), "{said}");
        let log = other.log();
        ensure!(log.contains("cpu_common"), "{log}");
    }
    Ok(())
}

#[test]
fn a_restore_that_is_killed_before_the_guest_runs_ends_its_qemu() -> Result<()> {
    for release in Release::ALL {
        let spec = Spec::large(release);
        let vmferry = saved(&spec)?;
        let mut guest = spec.incoming("defer").start()?;
        let qmp = format!("unix:{}", guest.qmp_path().display());
        let run = vmferry.start(["restore", "guest", "--qmp", &qmp])?;
        let deadline = Instant::now() + PATIENCE;
        while guest.execute("query-migrate", Value::Null)?["status"] != "active" {
            ensure!(Instant::now() < deadline, "{release} does not begin");
        }
        run.process().signal(Signal::KILL)?;
        // There is no guest to wait for; QEMU says why, and its exit status, too.
        let ended = guest.wait_for_end();
        ensure!(ended.is_err(), "{release} has ended well");
        let log = guest.log();
        ensure!(log.contains("load of migration failed"), "{log}");
    }
    Ok(())
}

#[test]
fn one_interrupt_warns_and_the_guest_gets_all_of_its_memory() -> Result<()> {
    let spec = Spec::large(Release::V10_0);
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
        let spec = Spec::large(release);
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
