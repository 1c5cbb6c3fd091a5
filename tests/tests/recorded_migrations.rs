//! What the recorder keeps of a migration is what passed, and the guest goes on behind it.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry_tests::{Guest, Recorder, Release, Spec, Vmferry};

fn enable(guest: &Guest, capabilities: &[&str]) -> Result<()> {
    let list = capabilities
        .iter()
        .map(|name| json!({"capability": name, "state": true}));
    let list: Vec<_> = list.collect();
    guest.execute("migrate-set-capabilities", json!({"capabilities": list}))?;
    Ok(())
}

#[test]
fn a_guest_that_moves_by_several_channels_goes_on_and_so_it_does_from_the_recording() -> Result<()>
{
    let vmferry = Vmferry::new()?;
    let releases = Release::ALL.into_iter();
    for (release, compression) in releases.flat_map(|r| [(r, "none"), (r, "zlib"), (r, "zstd")]) {
        let spec = Spec::pattern(release, "q35");
        let source = spec.start()?;
        source.wait_for_passes(1)?;
        // 7.2's translator loses track of pages that change meanwhile.
        source.stop()?;
        let destination = spec.clone().incoming("defer").start()?;
        for guest in [&source, &destination] {
            enable(guest, &["multifd"])?;
            let parameters = json!({"multifd-channels": 3, "multifd-compression": compression});
            guest.execute("migrate-set-parameters", parameters)?;
        }
        let onward = destination.folder().join("incoming");
        let uri = format!("unix:{}", onward.display());
        destination.execute("migrate-incoming", json!({"uri": uri}))?;

        let recorder = Recorder::start(source.folder(), Some(&onward))?;
        source.migrate(&recorder.uri())?;
        destination.wait_for_migration("completed")?;
        let recorded = recorder.finish()?;
        destination.cont()?;
        destination.wait_for_passes(2)?;

        ensure!(recorded.len() == 4, "{recorded:?}");
        let (mut main, mut ids, mut others) = (None, Vec::new(), String::new());
        for connection in &recorded {
            let sent = fs::read(&connection.sent)?;
            let path = connection.sent.display();
            match sent.get(..25) {
                Some([0x51, 0x45, 0x56, 0x4d, ..]) => main = Some(path),
                Some([0x11, 0x22, 0x33, 0x44, .., id]) => {
                    ids.push(*id);
                    others += &format!(",channel={path}");
                }
                other => anyhow::bail!("a channel begins with {other:?}"),
            }
        }
        ids.sort_unstable();
        ensure!(ids == [0, 1, 2], "{ids:?}");

        // And as one stream, in which no channel is missing.
        let main = main.context("no main channel")?;
        let stream = source.folder().join("stream");
        let all = format!("file:{main}{others}");
        let out = stream.display().to_string();
        vmferry.json(["convert", &all, "--to", "stream", "-o", &out])?;
        let restored = spec.restore(&stream)?;
        restored.cont()?;
        restored.wait_for_passes(2)?;
    }
    Ok(())
}

#[test]
fn a_connection_that_nobody_takes_on_is_kept_and_so_is_one_that_was_cut() -> Result<()> {
    let source = Spec::pattern(Release::V10_0, "q35").start()?;
    source.wait_for_passes(1)?;
    let folder = tempfile::tempdir()?;
    let recorder = Recorder::start(folder.path(), None)?;
    // So slowly that it would take hours.
    source.execute("migrate-set-parameters", json!({"max-bandwidth": 1000}))?;
    source.execute("migrate", json!({"uri": recorder.uri()}))?;
    source.wait_for_migration("active")?;
    recorder.cut();
    source.wait_for_migration("failed")?;
    source.migrate(&recorder.uri())?;
    let recorded = recorder.finish()?;
    let lens: Vec<_> = recorded
        .iter()
        .map(|connection| Ok(fs::metadata(&connection.sent)?.len()))
        .collect::<Result<_>>()?;
    ensure!(
        matches!(lens[..], [short, whole] if short < whole && whole > 8 << 20),
        "{lens:?}"
    );
    Ok(())
}
