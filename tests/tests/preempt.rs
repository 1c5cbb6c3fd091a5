//! A lazy restore with a channel of its own for the pages that the guest waits for, which QEMU takes with
//! capability `postcopy-preempt`.

use std::fs::File;
use std::os::unix::net::UnixStream;

use anyhow::{Result, ensure};
use serde_json::json;
use vmferry::channel::{self, Duplex, Socket};
use vmferry::load::{Image, Options, load};
use vmferry::postcopy::{self, HostPages, Unobserved};
use vmferry::progress::Progress;
use vmferry::stream::{Reader, Writer};
use vmferry_tests::{Release, Spec};

fn comes_back(release: Release, machine: &str) -> Result<()> {
    let spec = Spec::pattern(release, machine);
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    source.stop()?;
    let stream = source.folder().join("stream");
    source.migrate_to_file(&stream)?;
    let mut image = Image::default();
    let mut reader = Reader::new(channel::File::new(File::open(&stream)?));
    load(&mut reader, &mut image, &Options::default())?;
    drop(source);

    let guest = spec.clone().incoming("defer").start()?;
    guest.enable("postcopy-ram")?;
    guest.enable("postcopy-preempt")?;
    let socket = guest.folder().join("incoming");
    let uri = format!("unix:{}", socket.display());
    guest.execute("migrate-incoming", json!({"uri": uri}))?;
    let (reader, writer) = Socket::from(UnixStream::connect(&socket)?).split();
    let (reader, writer) = (Reader::new(reader), Writer::new(writer));
    let preempt = Writer::new(Socket::from(UnixStream::connect(&socket)?).split().1);
    let abort = reader.abort_handle().and(&preempt.abort_handle());
    let progress = Progress::default();
    let served = postcopy::serve_with_preempt(
        &image.state,
        &image,
        &HostPages::ordinary(4096),
        (writer, reader, preempt),
        &abort,
        &progress,
        &Unobserved,
    );
    guest.told(served.map_err(Into::into))?;
    guest.wait_until_migrated()?;
    let asked = progress.on_demand();
    let sent = progress.sent();
    ensure!(asked > 0 && sent > asked, "{machine}: {asked} of {sent}");
    guest.wait_for_passes(3)?;
    Ok(())
}

#[test]
fn requested_pages_have_a_channel_of_their_own() -> Result<()> {
    for release in Release::ALL {
        comes_back(release, "q35")?;
        comes_back(release, "pc")?;
    }
    Ok(())
}

#[test]
fn the_machine_type_decides_how_that_channel_ends() -> Result<()> {
    for machine in ["pc-q35-7.1", "pc-q35-7.2", "pc-q35-8.0"] {
        comes_back(Release::V10_0, machine)?;
    }
    comes_back(Release::V7_2, "pc-q35-7.1")
}
