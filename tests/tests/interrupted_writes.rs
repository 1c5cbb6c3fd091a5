//! A command that is interrupted while it writes a file leaves nothing behind; a file is there whole or not at all.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use vmferry_tests::{Backend, Guest, Release, Spec, Vmferry};

/// What is written of it, each for a while; `OUT` is where.
const WRITING: [&str; 8] = [
    "export IN --format raw -o OUT",
    "export IN --format elf -o OUT",
    "export IN --format lime -o OUT",
    "export IN --format blocks -o OUT",
    "convert IN --to stream -o OUT",
    "convert IN --to mapped-ram -o OUT",
    "convert IN --to libvirt --xml XML -o OUT",
    "convert IN --to checkpoint web",
];

/// The processor may be quick, and the interrupt come too late.
const ATTEMPTS: usize = 20;

/// A machine whose memory takes a while to write.
fn saved() -> Result<Guest> {
    let spec = Spec::pattern(Release::V10_0, "q35").memory(384, Backend::Anonymous);
    let guest = spec.start()?;
    guest.wait_for_passes(1)?;
    guest.stop()?;
    guest.migrate_to_file(&guest.folder().join("stream"))?;
    Ok(guest)
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(!folder.exists() || fs::read_dir(folder)?.next().is_none())
}

/// Interrupts a command when it has begun to write: whether that was in time.
fn interrupted_in_time(vmferry: &Vmferry, words: &[String], out: &Path) -> Result<bool> {
    let objects = vmferry.store().join("tmp");
    let mut run = vmferry.start(words)?;
    while is_empty(out)? && is_empty(&objects)? {
        if !run.process().is_running() {
            let ended = run.end()?;
            ended.succeeded()?;
            return Ok(false);
        }
        std::thread::yield_now();
    }
    run.process().signal(Signal::INT)?;
    let status = run.wait()?;
    if status.success() {
        return Ok(false);
    }
    ensure!(status.code() == Some(130), "{status}: {}", run.stderr());
    Ok(true)
}

#[test]
fn an_interrupted_command_leaves_nothing_of_what_it_was_writing() -> Result<()> {
    let guest = saved()?;
    let stream = guest.folder().join("stream").display().to_string();
    let xml = guest.folder().join("domain.xml");
    fs::write(&xml, "<domain type='qemu'><name>web</name></domain>\n")?;
    for command in WRITING {
        let mut in_time = false;
        for _ in 0..ATTEMPTS {
            let vmferry = Vmferry::new()?;
            let folder = tempfile::tempdir()?;
            let out = folder.path().join("out").display().to_string();
            let words = command.split(' ').map(|word| match word {
                "IN" => stream.clone(),
                "XML" => xml.display().to_string(),
                "OUT" => out.clone(),
                word => word.to_owned(),
            });
            let words: Vec<_> = words.collect();
            in_time = interrupted_in_time(&vmferry, &words, folder.path()).context(command)?;
            if in_time {
                ensure!(is_empty(folder.path())?, "{command}: something is left");
                ensure!(
                    is_empty(&vmferry.store().join("tmp"))?,
                    "{command}: something is left"
                );
                ensure!(
                    vmferry.checkpoints()?.is_empty(),
                    "{command}: half a checkpoint"
                );
                break;
            }
        }
        ensure!(
            in_time,
            "{command}: it never wrote long enough to be interrupted"
        );
    }
    Ok(())
}
