//! What is exported, Volatility reads as it reads a stream itself, and as it reads what it cannot open.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry_tests::{Backend, Guest, Release, Spec, Vmferry, Volatility};

/// A Linux guest at work, stopped.
fn stopped(release: Release, machine: &str) -> Result<Guest> {
    let guest = Spec::linux(release, machine)
        .memory(256, Backend::Anonymous)
        .start()?;
    guest.wait_until_filled()?;
    guest.stop()?;
    Ok(guest)
}

fn export(vmferry: &Vmferry, what: &str, format: &str, out: &Path) -> Result<()> {
    let out = out.display().to_string();
    let words = ["export", what, "--format", format, "-o", &out, "--force"];
    vmferry.json(words).map(drop)
}

/// The same guest from its stream; it has not run since.
fn loaded(guest: &Guest, stream: &str) -> Result<Guest> {
    let copy = guest.spec().clone().incoming("defer").paused().start()?;
    copy.load(&format!("exec:cat '{stream}'"))?;
    Ok(copy)
}

/// Whether two files hold the same bytes; neither is in memory as a whole.
fn same(a: &Path, b: &Path) -> Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut left = usize::try_from(a.metadata()?.len())?;
    while left > 0 {
        let len = left.min(ours.len());
        a.read_exact(&mut ours[..len])?;
        b.read_exact(&mut theirs[..len])?;
        if ours[..len] != theirs[..len] {
            return Ok(false);
        }
        left -= len;
    }
    Ok(true)
}

#[test]
fn a_raw_image_is_what_volatility_makes_of_the_same_stream() -> Result<()> {
    let (vmferry, volatility) = (Vmferry::new()?, Volatility::get()?);
    let guest = stopped(Release::V7_2, "pc")?;
    let stream = guest.folder().join("stream");
    guest.migrate_to_file(&stream)?;
    let raw = guest.folder().join("raw");
    export(&vmferry, &stream.display().to_string(), "raw", &raw)?;
    let theirs = volatility.memory_of_stream(&stream)?;
    ensure!(
        same(&raw, &theirs)?,
        "{} is not {}",
        raw.display(),
        theirs.display()
    );
    Ok(())
}

fn finds_the_kernel(volatility: &Volatility, exported: &Path) -> Result<()> {
    let banners = volatility.banners(exported)?;
    let linux = |banner: &String| {
        banner.starts_with("Linux version 6.1.") && banner.contains("-cloud-amd64 ")
    };
    ensure!(banners.iter().any(linux), "{banners:?}");
    Ok(())
}

/// Volatility 2.28 does not know the streams of QEMU 10.0.
#[test]
fn volatility_finds_the_kernel_in_what_is_exported_whatever_it_was_saved_in() -> Result<()> {
    let (vmferry, volatility) = (Vmferry::new()?, Volatility::get()?);
    let guest = stopped(Release::V10_0, "q35")?;
    let path = |name: &str| guest.folder().join(name);
    let stream = path("stream").display().to_string();
    guest.migrate_to_file(&path("stream"))?;
    for format in ["raw", "elf", "lime"] {
        export(&vmferry, &stream, format, &path(format))?;
        finds_the_kernel(&volatility, &path(format)).context(format)?;
    }

    // The same memory, whatever it was saved in. QEMU saves a machine that stands still once.
    vmferry.save(&loaded(&guest, &stream)?, "web", "stop")?;
    export(&vmferry, "web@latest", "raw", &path("again"))?;
    ensure!(
        same(&path("raw"), &path("again"))?,
        "the checkpoint differs"
    );
    let copy = loaded(&guest, &stream)?;
    copy.enable("mapped-ram")?;
    let file = path("mapped").display().to_string();
    copy.migrate(&format!("file:{file}"))?;
    export(&vmferry, &file, "raw", &path("again"))?;
    ensure!(
        same(&path("raw"), &path("again"))?,
        "the mapped-ram file differs"
    );
    for format in ["elf", "lime"] {
        export(&vmferry, "web@latest", format, &path("again"))?;
        ensure!(
            same(&path(format), &path("again"))?,
            "{format} of the checkpoint differs"
        );
    }

    // Written by several threads; kept as a checkpoint; and as an image of libvirt's.
    let copy = loaded(&guest, &stream)?;
    for name in ["mapped-ram", "multifd"] {
        copy.enable(name)?;
    }
    copy.execute("migrate-set-parameters", json!({"multifd-channels": 3}))?;
    let by_many = path("by-many").display().to_string();
    copy.migrate(&format!("file:{by_many}"))?;
    let (xml, image) = (path("domain.xml"), path("image").display().to_string());
    fs::write(&xml, "<domain type='qemu'><name>web</name></domain>\n")?;
    let xml = xml.display().to_string();
    for words in [
        &["convert", &by_many, "--to", "checkpoint", "multifd"][..],
        &[
            "convert", "multifd", "--to", "libvirt", "--xml", &xml, "-o", &image,
        ],
    ] {
        vmferry.json(words)?;
    }
    for what in [&by_many, "multifd@latest", &image] {
        export(&vmferry, what, "raw", &path("again"))?;
        ensure!(same(&path("raw"), &path("again"))?, "{what} differs");
    }

    for what in [file.as_str(), "multifd@latest", image.as_str()] {
        for format in ["raw", "elf", "lime"] {
            export(&vmferry, what, format, &path("again"))?;
            let found = finds_the_kernel(&volatility, &path("again"));
            found.with_context(|| format!("{format} of {what}"))?;
        }
    }

    // And through a pipe.
    let shell = vmferry.shell(&format!(
        "export '{file}' --format raw -o - > '{}'",
        path("again").display()
    ))?;
    let piped = std::process::Command::new("sh")
        .args(["-c", &shell])
        .status()?;
    ensure!(
        piped.success() && same(&path("raw"), &path("again"))?,
        "the pipe differs"
    );
    fs::remove_file(path("again"))?;
    Ok(())
}
