//! `vmferry restore` starts QEMU itself: with the command that it is given, or with the one that the
//! checkpoint recorded, if its user trusts that.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use vmferry_tests::{Guest, Release, Spec, Vmferry};

/// Saves a guest, and ends its QEMU; its command line and its sockets remain.
fn saved(release: Release, vmferry: &Vmferry) -> Result<(Guest, Vec<String>)> {
    saved_after(2, &Spec::pattern(release, "q35"), vmferry)
}

fn saved_after(passes: u64, spec: &Spec, vmferry: &Vmferry) -> Result<(Guest, Vec<String>)> {
    let mut source = spec.start()?;
    source.wait_for_passes(passes)?;
    vmferry.save(&source, "guest", "snapshot")?;
    let line = vmferry_tests::process::command_line(source.pid())?;
    let line = line.into_iter().map(|word| word.into_string());
    let line = line.collect::<Result<_, _>>();
    source.qmp().execute("quit", serde_json::Value::Null)?;
    source.wait_for_end()?;
    let line = line.map_err(|word| anyhow::anyhow!("{word:?} is no text"))?;
    Ok((source, line))
}

#[test]
fn a_command_is_started_and_the_guest_goes_on_in_it() -> Result<()> {
    for release in Release::ALL {
        for option in ["--paused", "--lazy"] {
            let vmferry = Vmferry::new()?;
            let (source, line) = saved(release, &vmferry)?;
            let mut words = vec!["restore", "guest", option, "--"];
            words.extend(line.iter().map(String::as_str));
            let run = vmferry.start(&words)?;
            let guest = source.successor()?;
            if option == "--paused" {
                run.until_said("stands still ('paused')")?;
                guest.cont()?;
            } else {
                run.until_said("all of its memory was there")?;
            }
            guest.wait_for_passes(3)?;
            // It stays with the QEMU that it has started, and ends as that does.
            ensure!(run.process().is_running(), "{}", run.stderr());
            guest.execute("quit", serde_json::Value::Null)?;
            run.end()?.succeeded()?;
        }
    }
    Ok(())
}

#[test]
fn a_recorded_command_is_shown_and_started_only_by_who_trusts_it() -> Result<()> {
    for release in Release::ALL {
        let vmferry = Vmferry::new()?;
        let (source, line) = saved(release, &vmferry)?;

        let shown = vmferry.run(["restore", "guest"])?;
        ensure!(shown.refused()?.contains("--trust-recorded"));
        ensure!(shown.stdout.contains(&line[0]), "{}", shown.stdout);
        // What 'q35' means may change from one QEMU to the next.
        ensure!(
            shown.stdout.contains("pc-q35-") && !shown.stdout.contains(" q35,"),
            "{}",
            shown.stdout
        );

        let run = vmferry.start(["restore", "guest", "--lazy", "--trust-recorded"])?;
        let guest = source.successor()?;
        guest.wait_for_passes(3)?;
        run.until_said("all of its memory was there")?;
        guest.execute("quit", serde_json::Value::Null)?;
        run.end()?.succeeded()?;
    }
    Ok(())
}

#[test]
fn a_started_qemu_ends_when_the_restore_is_told_to() -> Result<()> {
    let vmferry = Vmferry::new()?;
    let (source, line) = saved(Release::V10_0, &vmferry)?;
    let mut words = vec!["restore", "guest", "--"];
    words.extend(line.iter().map(String::as_str));
    let mut run = vmferry.start(&words)?;
    let mut guest = source.successor()?;
    guest.wait_for_passes(3)?;
    run.process().signal(Signal::INT)?;
    guest.wait_for_end()?;
    ensure!(run.wait()?.code().is_some(), "{}", run.stderr());
    Ok(())
}

#[test]
fn a_guest_that_ends_before_it_has_all_of_its_memory_is_no_failure() -> Result<()> {
    for release in Release::ALL {
        let vmferry = Vmferry::new()?;
        let (source, line) = saved_after(1, &Spec::large(release), &vmferry)?;
        let mut words = vec!["restore", "guest", "--lazy", "--"];
        words.extend(line.iter().map(String::as_str));
        let run = vmferry.start(&words)?;
        let guest = source.successor()?;
        guest.wait_for_state("running")?;
        guest.execute("quit", serde_json::Value::Null)?;
        let ended = run.end()?;
        ended.succeeded()?;
        ensure!(
            ended.stderr.contains("ended before it needed all"),
            "{}",
            ended.stderr
        );
    }
    Ok(())
}

#[test]
fn a_qemu_that_ends_at_once_is_reported_with_its_status() -> Result<()> {
    let vmferry = Vmferry::new()?;
    let (_source, mut line) = saved(Release::V10_0, &vmferry)?;
    line.extend(["-device".into(), "no-such-device".into()]);
    let mut words = vec!["restore", "guest", "--"];
    words.extend(line.iter().map(String::as_str));
    let ended = vmferry.run(&words)?;
    let said = ended.refused()?;
    ensure!(said.contains("QEMU did not start"), "{said}");
    // QEMU's own words come through.
    ensure!(said.contains("no-such-device"), "{said}");
    Ok(())
}

#[test]
fn a_machine_that_differs_is_refused_in_the_words_of_qemu() -> Result<()> {
    let vmferry = Vmferry::new()?;
    let (_source, mut line) = saved(Release::V10_0, &vmferry)?;
    let at = line.iter().position(|word| word == "-smp");
    line[at.context("no -smp")? + 1] = "1".into();
    let mut words = vec!["restore", "guest", "--"];
    words.extend(line.iter().map(String::as_str));
    let ended = vmferry.run(&words)?;
    let said = ended.refused()?;
    ensure!(said.contains("QEMU has ended"), "{said}");
    ensure!(said.contains("cpu"), "{said}");
    Ok(())
}
