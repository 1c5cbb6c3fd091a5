//! A restore that cannot be says why, in the words of QEMU where QEMU knows, and leaves QEMU as it was.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vmferry_tests::vmferry::Ended;
use vmferry_tests::{Guest, Release, Spec, Vmferry};

/// A machine with a disk of its own that it may write to.
fn with_disk(release: Release, folder: &std::path::Path) -> Result<(Spec, String)> {
    let disk = folder.join("own.raw");
    fs::File::create(&disk)?.set_len(1 << 20)?;
    let disk = disk.display().to_string();
    let spec = Spec::pattern(release, "q35")
        .arg("-drive")
        .arg(format!("file={disk},if=none,id=own,format=raw"))
        .arg("-device")
        .arg("virtio-blk-pci,drive=own");
    Ok((spec, disk))
}

/// What a restore changes: capabilities that are on, and parameters.
fn settings(guest: &Guest) -> Result<(Vec<Value>, Value)> {
    let list = guest.execute("query-migrate-capabilities", Value::Null)?;
    let list = list.as_array().context("no capabilities")?;
    let on = list.iter().filter(|capability| capability["state"] == true);
    let parameters = guest.execute("query-migrate-parameters", Value::Null)?;
    Ok((on.cloned().collect(), parameters))
}

fn try_to_restore(vmferry: &Vmferry, guest: &Guest, options: &[&str]) -> Result<Ended> {
    let qmp = format!("unix:{}", guest.qmp_path().display());
    vmferry.run([&["restore", "guest", "--qmp", &qmp], options].concat())
}

fn saved(spec: &Spec) -> Result<Vmferry> {
    let vmferry = Vmferry::new()?;
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    vmferry.save(&source, "guest", "snapshot")?;
    Ok(vmferry)
}

#[test]
fn a_disk_that_another_qemu_holds_is_named_and_the_restore_works_when_it_is_free() -> Result<()> {
    for release in Release::ALL {
        let folder = tempfile::tempdir()?;
        let (spec, disk) = with_disk(release, folder.path())?;
        let vmferry = Vmferry::new()?;
        let source = spec.start()?;
        source.wait_for_passes(1)?;
        vmferry.save(&source, "guest", "snapshot")?;

        let guest = spec.incoming("defer").start()?;
        let before = settings(&guest)?;
        for options in [&[][..], &["--lazy"]] {
            let ended = try_to_restore(&vmferry, &guest, options)?;
            let said = ended.refused()?;
            for words in [
                disk.as_str(),
                "Failed to get \"write\" lock",
                "end the other",
            ] {
                ensure!(said.contains(words), "'{words}' is not in: {said}");
            }
            // Nothing was sent, and nothing stays changed.
            ensure!(guest.run_state()? == "inmigrate");
            ensure!(
                settings(&guest)? == before,
                "{release}: settings stay changed"
            );
        }
        drop(source);
        vmferry.restore(&guest, "guest", &[])?;
        ensure!(
            settings(&guest)? == before,
            "{release}: settings stay changed"
        );
        guest.wait_for_passes(2)?;
    }
    Ok(())
}

#[test]
fn a_guest_is_left_standing_where_its_qemu_was_started_with_dash_s() -> Result<()> {
    for release in Release::ALL {
        let spec = Spec::pattern(release, "q35");
        let vmferry = saved(&spec)?;
        for options in [&[][..], &["--lazy"]] {
            let guest = spec.clone().incoming("defer").paused().start()?;
            let ended = try_to_restore(&vmferry, &guest, options)?;
            ended.succeeded()?;
            ensure!(ended.stderr.contains("started with -S"), "{}", ended.stderr);
            ensure!(guest.run_state()? == "paused", "{release}");
            guest.cont()?;
            guest.wait_for_passes(2)?;
        }
    }
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_is_refused_with_one_text_whoever_started_qemu() -> Result<()> {
    for release in Release::ALL {
        let spec = Spec::pattern(release, "pc");
        let vmferry = Vmferry::new()?;
        let source = spec.start()?;
        source.wait_for_passes(1)?;
        vmferry.save(&source, "guest", "snapshot")?;
        let line = vmferry_tests::process::command_line(source.pid())?;

        let mut other = spec.clone();
        other.cpus = 1;
        let mut texts = Vec::new();
        for options in [&[][..], &["--lazy"]] {
            let guest = other.clone().incoming("defer").start()?;
            texts.push(try_to_restore(&vmferry, &guest, options)?);
        }
        let mut words: Vec<_> = ["restore", "guest", "--"].map(Into::into).into();
        words.extend(line);
        let smp = words
            .iter()
            .position(|word| word == "-smp")
            .context("no -smp")?;
        words[smp + 1] = "1".into();
        texts.push(vmferry.run(&words)?);
        for ended in texts {
            let said = ended.refused()?;
            let error = said.lines().find(|line| line.starts_with("error:"));
            let error = error.context("no error")?;
            for words in [
                "QEMU does not take the machine: Unknown savevm section or instance 'cpu_common' 1",
                "QEMU has ended",
                "the same processors",
            ] {
                ensure!(
                    error.contains(words),
                    "{release}: '{words}' is not in: {said}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn memory_that_cannot_be_brought_page_by_page_is_refused_before_anything_is_sent() -> Result<()> {
    for release in Release::ALL {
        let spec = Spec::pattern(release, "q35");
        let vmferry = saved(&spec)?;
        let on_disk = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR"))?;
        let in_memory = tempfile::NamedTempFile::new_in("/dev/shm")?;
        for (file, share, advice) in [
            (&on_disk, "off", "on a disk"),
            (&on_disk, "on", "on a disk"),
            (&in_memory, "off", "share=on"),
        ] {
            // What somebody else may need.
            fs::write(file.path(), vec![0xaa; 32 << 20])?;
            let backend = format!(
                "memory-backend-file,id=pc.ram,size=32M,mem-path={},share={share}",
                file.path().display()
            );
            let spec = spec.clone().incoming("defer");
            let spec = spec.arg("-object").arg(backend);
            let guest = spec.arg("-machine").arg("memory-backend=pc.ram").start()?;
            let before = settings(&guest)?;
            let ended = try_to_restore(&vmferry, &guest, &["--lazy"])?;
            let said = ended.refused()?;
            ensure!(
                said.contains(advice) && said.contains("leave --lazy out"),
                "{said}"
            );
            ensure!(guest.run_state()? == "inmigrate");
            ensure!(settings(&guest)? == before);
            vmferry.restore(&guest, "guest", &[])?;
            guest.wait_for_passes(1)?;
            if share == "off" {
                let kept = fs::read(file.path())?;
                ensure!(
                    kept.iter().all(|byte| *byte == 0xaa),
                    "the file was changed"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_qemu_that_holds_a_guest_is_not_said_to_be_of_no_use() -> Result<()> {
    let spec = Spec::large(Release::V10_0);
    let vmferry = saved(&spec)?;
    let guest = spec.incoming("defer").start()?;
    let on = json!([{"capability": "events", "state": true}]);
    guest.execute("migrate-set-capabilities", json!({"capabilities": on}))?;
    let qmp = format!("unix:{}", guest.qmp_path().display());
    let run = vmferry.start(["restore", "guest", "--qmp", &qmp, "--lazy"])?;
    guest.wait_for_state("running")?;
    for _ in 0..2 {
        run.process().signal(rustix::process::Signal::INT)?;
        if run.process().is_running() {
            run.until_said("interrupt once more")?;
        }
    }
    let ended = run.end()?;
    if ended.status.success() {
        // The machine was quicker than we.
        return Ok(());
    }
    ensure!(
        ended.stderr.contains("Do not end this QEMU"),
        "{}",
        ended.stderr
    );
    ensure!(
        ended.stderr.contains("settings stay changed"),
        "{}",
        ended.stderr
    );
    // A thread of QEMU's that waits for a page may hold the lock that its monitor needs, so it may not answer.
    let refused =
        |said: &str| said.contains("do not end this QEMU") || said.contains("no answer to");
    let again = try_to_restore(&vmferry, &guest, &[])?;
    let said = again.refused()?;
    ensure!(refused(said), "{said}");
    let ended = vmferry.begin_save(&guest, "guest", "stop")?.end()?;
    let said = ended.refused()?;
    ensure!(refused(said), "{said}");
    Ok(())
}

#[test]
fn a_qemu_that_goes_into_the_background_is_left_there() -> Result<()> {
    for release in Release::ALL {
        let vmferry = Vmferry::new()?;
        let mut source = Spec::pattern(release, "q35").start()?;
        source.wait_for_passes(1)?;
        vmferry.save(&source, "guest", "snapshot")?;
        let line = vmferry_tests::process::command_line(source.pid())?;
        source.qmp().execute("quit", Value::Null)?;
        source.wait_for_end()?;

        let mut words: Vec<_> = ["restore", "guest", "--"].map(Into::into).into();
        words.extend(line);
        let pidfile = source.folder().join("pid");
        words.extend(["-daemonize".into(), "-pidfile".into(), pidfile.into()]);
        let mut run = vmferry.start(&words)?;
        let guest = source.successor()?;
        ensure!(run.wait()?.success(), "{}", run.stderr());
        let said = format!("QEMU goes on in the background (process {})", guest.pid());
        ensure!(run.stderr().contains(&said), "{}", run.stderr());
        guest.wait_for_passes(2)?;
    }
    Ok(())
}
