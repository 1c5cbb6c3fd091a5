//! A checkpoint that is not what was saved is refused, and nothing is started from it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmferry_tests::{Guest, Release, Spec, Vmferry};

/// A store with one checkpoint in it.
struct Saved {
    vmferry: Vmferry,
    spec: Spec,
}

impl Saved {
    fn new() -> Result<Self> {
        let vmferry = Vmferry::new()?;
        let spec = Spec::pattern(Release::V10_0, "pc");
        let guest = spec.start()?;
        guest.wait_for_passes(1)?;
        vmferry.save(&guest, "guest", "snapshot")?;
        Ok(Self { vmferry, spec })
    }

    /// The only file in a folder of the store.
    fn file(&self, folder: &str) -> Result<PathBuf> {
        let folder = self.vmferry.store().join(folder);
        let first = fs::read_dir(&folder)?.next().context("an empty folder")??;
        Ok(first.path())
    }

    fn waiting(&self) -> Result<Guest> {
        self.spec.clone().incoming("defer").start()
    }

    /// A restore fails, says this, and leaves no guest that runs.
    fn is_refused(&self, options: &[&str], words: &str) -> Result<()> {
        let guest = self.waiting()?;
        let qmp = format!("unix:{}", guest.qmp_path().display());
        let restore = [&["restore", "guest", "--qmp", &qmp], options].concat();
        let ended = self.vmferry.run(restore)?;
        let said = ended.refused()?;
        ensure!(said.contains(words), "'{words}' is not in: {said}");
        // Either it waits as before, or QEMU has ended with its stream.
        if let Ok(state) = guest.run_state() {
            ensure!(state != "running", "a guest runs");
        }
        ensure!(
            guest.console().lines().is_empty(),
            "a guest has said something"
        );
        Ok(())
    }
}

fn flip(path: &Path, at: usize) -> Result<()> {
    let mut bytes = fs::read(path)?;
    *bytes.get_mut(at).context("a shorter file")? ^= 0x10;
    fs::write(path, bytes)?;
    Ok(())
}

#[test]
fn a_truncated_pack_is_refused_before_anything_is_sent() -> Result<()> {
    let saved = Saved::new()?;
    let pack = saved.file("packs")?;
    let bytes = fs::read(&pack)?;
    fs::write(&pack, &bytes[..bytes.len() - 1000])?;
    for options in [&[][..], &["--lazy"]] {
        saved.is_refused(options, "is damaged")?;
    }
    Ok(())
}

#[test]
fn a_missing_pack_is_refused_before_anything_is_sent() -> Result<()> {
    let saved = Saved::new()?;
    fs::remove_file(saved.file("packs")?)?;
    for options in [&[][..], &["--lazy"]] {
        saved.is_refused(options, "is missing")?;
    }
    Ok(())
}

#[test]
fn a_flipped_byte_in_a_page_never_reaches_a_guest() -> Result<()> {
    let saved = Saved::new()?;
    let pack = saved.file("packs")?;
    flip(&pack, usize::try_from(fs::metadata(&pack)?.len() / 2)?)?;
    saved.is_refused(&[], "is damaged")
}

#[test]
fn a_guest_that_is_restored_lazily_waits_where_a_page_is_damaged() -> Result<()> {
    let saved = Saved::new()?;
    let pack = saved.file("packs")?;
    flip(&pack, usize::try_from(fs::metadata(&pack)?.len() / 2)?)?;
    let guest = saved.waiting()?;
    let qmp = format!("unix:{}", guest.qmp_path().display());
    let ended = saved
        .vmferry
        .run(["restore", "guest", "--qmp", &qmp, "--lazy"])?;
    let said = ended.refused()?;
    ensure!(
        said.contains("is damaged") && said.contains("postcopy-paused"),
        "{said}"
    );
    let status = guest.execute("query-migrate", Value::Null)?;
    ensure!(status["status"] == "postcopy-paused", "{status}");
    // What it has is whole: it has found nothing wrong.
    let lines = guest.console().lines();
    ensure!(
        !lines.iter().any(|line| line.text.starts_with("BAD")),
        "{lines:?}"
    );
    Ok(())
}

#[test]
fn a_flipped_byte_in_the_page_map_or_the_device_state_is_refused() -> Result<()> {
    for folder in ["maps", "states"] {
        let saved = Saved::new()?;
        flip(&saved.file(folder)?, 100)?;
        for options in [&[][..], &["--lazy"]] {
            saved
                .is_refused(options, "is damaged")
                .with_context(|| folder.to_owned())?;
        }
    }
    Ok(())
}

/// Changes the text of the manifest.
fn edit(saved: &Saved, from: &str, to: &str) -> Result<()> {
    let manifest = saved.file("checkpoints/guest")?;
    let text = fs::read_to_string(&manifest)?;
    ensure!(text.contains(from), "'{from}' is not in {text}");
    fs::write(&manifest, text.replacen(from, to, 1))?;
    Ok(())
}

#[test]
fn a_manifest_of_a_newer_version_is_refused_by_its_number() -> Result<()> {
    let saved = Saved::new()?;
    edit(&saved, "\"version\": 1", "\"version\": 2")?;
    saved.is_refused(&["--lazy"], "format version 2")
}

#[test]
fn a_manifest_with_an_unknown_feature_is_refused_by_its_name() -> Result<()> {
    let saved = Saved::new()?;
    edit(
        &saved,
        "\"required\": []",
        "\"required\": [\"time-travel\"]",
    )?;
    saved.is_refused(&["--lazy"], "time-travel")
}

#[test]
fn a_manifest_that_was_changed_is_refused_and_the_others_are_listed() -> Result<()> {
    let saved = Saved::new()?;
    let guest = saved.spec.start()?;
    guest.wait_for_passes(1)?;
    saved.vmferry.save(&guest, "other", "snapshot")?;
    edit(&saved, "running", "paused!")?;
    saved.is_refused(&[], "is damaged")?;
    let listing = saved.vmferry.run(["list"])?;
    ensure!(listing.status.code() == Some(1), "{}", listing.status);
    ensure!(listing.stdout.contains("other"), "{}", listing.stdout);
    ensure!(listing.stderr.contains("is damaged"), "{}", listing.stderr);
    Ok(())
}
