//! States on block devices, and states of devices alone, as real QEMUs write them.

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
