//! A stream ends where QEMU ends it: what a volume holds after it is never looked at, neither by QEMU nor by us.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry_tests::{Guest, Release, Spec, Vmferry};

/// What a volume holds after the stream.
#[derive(Debug, Clone, Copy)]
enum After {
    Zeros,
    Noise,
    Older,
}

/// Writes a volume: what was there before, and over it the stream.
fn write_volume(volume: &Path, stream: &Path, older: &Path, after: After) -> Result<u64> {
    const MORE: usize = (1 << 20) + 512;
    let bytes = fs::read(stream)?;
    let before = match after {
        After::Zeros => vec![0; bytes.len() + MORE],
        After::Noise => (0..bytes.len() + MORE)
            .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29).to_le_bytes()[0])
            .collect(),
        // Longer than the stream, and whole at its end.
        After::Older => fs::read(older)?.repeat(2),
    };
    ensure!(before.len() > bytes.len(), "the older stream is too short");
    fs::write(volume, &before)?;
    let file = OpenOptions::new().write(true).open(volume)?;
    file.write_all_at(&bytes, 0)?;
    Ok((before.len() - bytes.len()) as u64)
}

fn stopped(spec: &Spec) -> Result<(Guest, u64)> {
    let source = spec.start()?;
    let passes = source.wait_for_passes(1)?;
    source.stop()?;
    Ok((source, passes))
}

/// The guest of a volume goes on in QEMU, and the program finds it sound and says once what it did not look at.
fn assert_goes_on(spec: &Spec, volume: &Path, uri: &str, after: u64, passes: u64) -> Result<()> {
    let guest = spec.clone().incoming("defer").start()?;
    if spec.release == Release::V10_0 && uri.starts_with("file:") && uri.contains("mapped") {
        guest.enable("mapped-ram")?;
    }
    guest.load(uri)?;
    guest.cont()?;
    let now = guest.wait_for_passes(2)?;
    ensure!(now >= passes + 2, "pass {now} after pass {passes}");
    drop(guest);

    let vmferry = Vmferry::new()?;
    let path = volume.to_str().context("a path")?;
    let words = format!("{after} bytes after the end of the stream were not looked at");
    let verified = vmferry.json(["verify", path])?;
    ensure!(verified["sound"] == json!(true), "{verified}");
    ensure!(
        verified.to_string().matches(&words).count() == 1,
        "{verified}"
    );
    let inspected = vmferry.json(["inspect", path])?;
    ensure!(inspected["whole"] == json!(true), "{inspected}");
    ensure!(
        inspected["notes"].to_string().matches(&words).count() == 1,
        "{inspected}"
    );
    ensure!(inspected["error"].is_null(), "{inspected}");
    Ok(())
}

#[test]
fn a_guest_goes_on_from_a_volume_that_holds_more_than_its_stream() -> Result<()> {
    for release in Release::ALL {
        let spec = Spec::pattern(release, "q35");
        let (source, _) = stopped(&spec)?;
        let folder = source.folder().to_owned();
        let (older, stream) = (folder.join("older"), folder.join("stream"));
        source.migrate_to_file(&older)?;
        source.wait_for_state("postmigrate")?;
        source.cont()?;
        let passes = source.wait_for_passes(1)?;
        source.stop()?;
        source.migrate_to_file(&stream)?;
        for after in [After::Zeros, After::Noise, After::Older] {
            let volume = folder.join("volume");
            let left = write_volume(&volume, &stream, &older, after)?;
            let uri = match (release, after) {
                // QEMU has `file:` since 8.2.
                (Release::V10_0, After::Zeros | After::Older) => {
                    format!("file:{}", volume.display())
                }
                _ => format!("exec:cat '{}'", volume.display()),
            };
            let goes_on = assert_goes_on(&spec, &volume, &uri, left, passes);
            goes_on.with_context(|| format!("{release:?}, {after:?}"))?;
        }
        // What is converted is the machine, without what came after.
        let vmferry = Vmferry::new()?;
        let (volume, out) = (folder.join("volume"), folder.join("out"));
        let (volume, out) = (
            volume.to_str().context("a path")?,
            out.to_str().context("a path")?,
        );
        let stream = stream.to_str().context("a path")?;
        vmferry.json(["convert", volume, "--to", "stream", "-o", out])?;
        ensure!(fs::metadata(out)?.len() <= fs::metadata(stream)?.len() + 4096);
        vmferry.run(["diff", stream, volume])?.succeeded()?;
        vmferry.run(["diff", stream, out])?.succeeded()?;
        let guest = spec.restore(Path::new(out))?;
        guest.cont()?;
        guest.wait_for_passes(2)?;
    }
    Ok(())
}

#[test]
fn a_guest_goes_on_from_a_mapped_ram_file_that_was_rounded_up() -> Result<()> {
    let spec = Spec::pattern(Release::V10_0, "q35");
    let (source, passes) = stopped(&spec)?;
    let volume = source.folder().join("mapped");
    source.enable("mapped-ram")?;
    let uri = format!("file:{}", volume.display());
    source.migrate(&uri)?;
    let len = fs::metadata(&volume)?.len();
    let rounded = (len + 1).next_multiple_of(512);
    OpenOptions::new()
        .write(true)
        .open(&volume)?
        .set_len(rounded)?;
    assert_goes_on(&spec, &volume, &uri, rounded - len, passes)
}
