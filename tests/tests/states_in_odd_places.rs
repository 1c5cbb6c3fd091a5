//! States on block devices, and states of devices alone, as real QEMUs write them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vmferry_tests::{BlockDevice, Qemu, Release, Spec, Vmferry};

#[test]
fn a_snapshot_on_a_block_device_is_read_as_one_in_a_file() -> Result<()> {
    for release in Release::ALL {
        let device = BlockDevice::new(64)?;
        let mut create = Command::new(Qemu::get(release)?.img());
        create
            .args(["create", "-q", "-f", "qcow2"])
            .arg(device.path());
        let output = create.arg("8M").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{release}: {said}");
        let drive = format!(
            "file={},if=none,id=disk,format=qcow2",
            device.path().display()
        );
        let spec = Spec::pattern(release, "q35")
            .tell(|pattern| pattern.disk = false)
            .arg("-drive")
            .arg(drive)
            .arg("-device")
            .arg("virtio-blk-pci,drive=disk");
        let guest = spec.start()?;
        guest.wait_for_passes(1)?;
        let said = guest.qmp().human("savevm monday")?;
        ensure!(said.trim().is_empty(), "{release}: {said}");
        guest.quit()?;

        let vmferry = Vmferry::new()?;
        let device = device.path().display();
        for words in [
            format!("verify {device}"),
            format!("inspect file:{device},snapshot=monday"),
            format!("convert {device} --to checkpoint web"),
        ] {
            let ended = vmferry.run(words.split(' '))?;
            ended
                .succeeded()
                .with_context(|| format!("{release}: {words}"))?;
        }
        let ended = vmferry.run(["diff", &device.to_string(), "web"])?;
        ended
            .succeeded()
            .with_context(|| format!("{release}: its checkpoint differs"))?;
    }
    Ok(())
}

/// Streams, mapped-ram files and images of libvirt, as golden files have them. Not with xz or zstd: their own programs
/// call the zeros after such data damage, and so do we.
const STATES: &[&str] = &[
    "streams/7.2-pc-small.stream.zst",
    "streams/10.0-q35-small.stream.zst",
    "streams/10.0-q35-xbzrle.stream.zst",
    "streams/10.0-q35-mapped.mapped.zst",
    "streams/10.0-q35-mapped-live.mapped.zst",
    "containers/libvirt-9.0-raw.save",
    "containers/libvirt-9.0-gzip.save",
    "containers/libvirt-9.0-bzip2.save",
    "containers/libvirt-9.0-lzop.save",
    "containers/libvirt-11.3-sparse.save.zst",
];

#[test]
fn a_state_on_a_block_device_is_read_as_one_in_a_file() -> Result<()> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let folder = tempfile::tempdir()?;
    let vmferry = Vmferry::new()?;
    for (index, state) in STATES.iter().enumerate() {
        let golden = testdata.join(state);
        let file = folder.path().join(format!("state-{index}"));
        match state.strip_suffix(".zst") {
            Some(_) => fs::write(&file, zstd::decode_all(fs::File::open(&golden)?)?)?,
            None => drop(fs::copy(&golden, &file)?),
        }
        let device = BlockDevice::holding(&file)?;
        let (file, device) = (file.display(), device.path().display());
        for words in [
            format!("verify {device}"),
            format!("inspect {device}"),
            format!("diff {file} {device}"),
            format!("convert {file} --to checkpoint file{index}"),
            format!("convert {device} --to checkpoint device{index}"),
            format!("diff file{index} device{index}"),
        ] {
            let ended = vmferry.run(words.split(' '))?;
            ended
                .succeeded()
                .with_context(|| format!("{state}: {words}"))?;
        }
    }
    Ok(())
}

#[test]
fn the_state_of_devices_alone_is_said_to_be_that() -> Result<()> {
    for release in Release::ALL {
        let guest = Spec::pattern(release, "q35").start()?;
        guest.wait_for_passes(1)?;
        let file = guest.folder().join("devices");
        let name = file.display().to_string();
        guest.execute(
            "xen-save-devices-state",
            json!({"filename": name, "live": false}),
        )?;
        let vmferry = Vmferry::new()?;
        let ended = vmferry.run(["verify", &name])?;
        ended.succeeded().with_context(|| format!("{release}"))?;
        let said = &ended.stdout;
        ensure!(said.contains("no machine"), "{release}: {said}");
        let ended = vmferry.run(["convert", &name, "--to", "checkpoint", "web"])?;
        let said = ended.refused()?;
        ensure!(said.contains("xen-save-devices-state"), "{release}: {said}");
        ensure!(vmferry.checkpoints()?.is_empty(), "{release}");
        guest.quit()?;
    }
    Ok(())
}
