//! Snapshots that `savevm` makes in a qcow2 image: the memory in them is the guest's, whatever the clusters of
//! the image, and a guest goes on from them through `vmferry`.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use vmferry::container::{self, Container, ContainerError, Wanted};
use vmferry::index::Index;
use vmferry::load::VmDescRule;
use vmferry::ram::{PageIndex, PageSource};
use vmferry_tests::{Guest, Qemu, Release, Spec, Vmferry};

const MIB: u64 = 1 << 20;
const PAGE: usize = 4096;

/// An image of 8 MiB.
fn create(release: Release, image: &Path, options: &str) -> Result<()> {
    let mut create = Command::new(Qemu::get(release)?.img());
    create.args(["create", "-q", "-f", "qcow2", "-o", options]);
    let output = create.arg(image).arg("8M").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{options}: {said}");
    Ok(())
}

/// A guest with the image as its disk, which it does not touch.
fn spec(release: Release, image: &Path) -> Spec {
    let drive = format!("file={},if=none,id=disk,format=qcow2", image.display());
    Spec::pattern(release, "q35")
        .tell(|pattern| pattern.disk = false)
        .arg("-drive")
        .arg(drive)
        .arg("-device")
        .arg("virtio-blk-pci,drive=disk")
}

/// Makes a snapshot, and gives the memory above the first MiB, where there are holes.
fn savevm(guest: &Guest, name: &str) -> Result<Vec<u8>> {
    guest.stop()?;
    let said = guest.qmp().human(&format!("savevm {name}"))?;
    ensure!(said.trim().is_empty(), "savevm {name}: {said}");
    let end = u64::from(guest.spec().memory_mib) * MIB;
    let memory = guest.memory(MIB, end - MIB)?;
    guest.cont()?;
    Ok(memory)
}

fn open(image: &Path, snapshot: Option<&str>) -> Result<container::Opened, ContainerError> {
    let wanted = Wanted {
        snapshot: snapshot.map(str::to_owned),
        ..Wanted::default()
    };
    container::open_wanted(File::open(image)?, &wanted)
}

fn has_memory(image: &Path, snapshot: &str, memory: &[u8]) -> Result<()> {
    let opened = open(image, Some(snapshot))?;
    let Container::Qcow2(found) = &opened.container else {
        anyhow::bail!("it is taken for {}", opened.container);
    };
    ensure!(
        found.name == snapshot && found.vm_state_size > 0,
        "{found:?}"
    );
    let index = Index::open(opened, VmDescRule::Required)?;
    let ram = index.blocks().find("pc.ram").context("no RAM")?;
    let mut ours = vec![0; PAGE];
    for (page, theirs) in (MIB / PAGE as u64..).zip(memory.chunks_exact(PAGE)) {
        ours.fill(0);
        index.page(ram, PageIndex(page), &mut ours)?;
        ensure!(
            ours == theirs,
            "snapshot {snapshot}: page {page:#x} differs from that of QEMU"
        );
    }
    Ok(())
}

fn is_read(release: Release, options: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("disk.qcow2");
    create(release, &image, options)?;
    let guest = spec(release, &image).start()?;
    guest.wait_for_passes(1)?;
    let monday = savevm(&guest, "monday")?;
    // A snapshot in between makes the tables of the others move.
    let said = guest.qmp().human("savevm gone")?;
    ensure!(said.trim().is_empty(), "{said}");
    guest.wait_for_passes(1)?;
    let tuesday = savevm(&guest, "tuesday")?;
    let said = guest.qmp().human("delvm gone")?;
    ensure!(said.trim().is_empty(), "{said}");
    ensure!(monday != tuesday, "the guest has not gone on");
    guest.quit()?;

    has_memory(&image, "monday", &monday)?;
    has_memory(&image, "tuesday", &tuesday)?;
    match open(&image, None) {
        Err(ContainerError::WhichSnapshot { names }) => {
            ensure!(
                names.contains("'monday'") && names.contains("'tuesday'"),
                "{names}"
            );
        }
        _ => anyhow::bail!("one of two snapshots was taken"),
    }
    Ok(())
}

#[test]
fn the_memory_in_a_snapshot_is_that_of_the_guest() -> Result<()> {
    for release in Release::ALL {
        for options in ["cluster_size=64K", "cluster_size=4K,compat=0.10"] {
            is_read(release, options).with_context(|| format!("{release}: {options}"))?;
        }
    }
    Ok(())
}

#[test]
fn the_clusters_of_an_image_may_be_of_any_size() -> Result<()> {
    for options in [
        "cluster_size=512",
        "cluster_size=2M",
        "cluster_size=16K,extended_l2=on",
        "cluster_size=64K,lazy_refcounts=on,compression_type=zstd",
    ] {
        is_read(Release::V10_0, options).context(options)?;
    }
    Ok(())
}

#[test]
fn a_guest_goes_on_from_a_snapshot_without_its_image() -> Result<()> {
    for release in Release::ALL {
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("disk.qcow2");
        create(release, &image, "cluster_size=64K")?;
        let spec = spec(release, &image);
        let guest = spec.start()?;
        guest.wait_for_passes(2)?;
        savevm(&guest, "monday")?;
        guest.quit()?;

        let vmferry = Vmferry::new()?;
        let snapshot = format!("file:{},snapshot=monday", image.display());
        let stream = folder.path().join("stream").display().to_string();
        let options = ["--to", "stream", "-o", &stream];
        vmferry
            .run([&["convert", &snapshot], &options[..]].concat())?
            .succeeded()?;
        let restored = spec.restore(stream.as_ref())?;
        // 'savevm' saves a guest that was stopped for it as it was told to be.
        restored.cont()?;
        restored.wait_for_passes(2)?;
        drop(restored);

        // As a checkpoint, lazily.
        let report = vmferry.json(["convert", &snapshot, "--to", "checkpoint", "web"])?;
        let name = report["output"]
            .as_str()
            .context("no checkpoint")?
            .to_owned();
        let waiting = spec.clone().incoming("defer").start()?;
        vmferry.restore(&waiting, &name, &["--lazy"])?;
        if waiting.run_state()? != "running" {
            waiting.cont()?;
        }
        waiting.wait_for_passes(2)?;
    }
    Ok(())
}
