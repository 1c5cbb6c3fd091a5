//! Machines that are no PCs: their streams are read, their memory lies where QEMU has it, and what is written again
//! QEMU takes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use vmferry_tests::{Backend, Program, Release, Spec, Target, Vmferry};

const MIB: u64 = 1 << 20;

/// A machine that has not run, with something in its RAM, which begins at `base`.
fn machine(release: Release, target: Target, machine: &str, mib: u32, mark: &str) -> Spec {
    let spec = Spec {
        target,
        cpus: 1,
        program: Program::Firmware,
        ..Spec::pattern(release, machine)
    };
    let spec = spec.memory(mib, Backend::Anonymous).paused();
    spec.arg("-device").arg(mark)
}

/// Its memory is exported as QEMU has it, and it goes on from what is converted; or that is refused, because of the
/// section of this name.
fn is_read_and_written(spec: &Spec, base: u64, refused: Option<&str>) -> Result<()> {
    let vmferry = Vmferry::new()?;
    let guest = spec.start()?;
    let [stream, raw, again] = ["stream", "raw", "again"].map(|name| guest.folder().join(name));
    guest.migrate_to_file(&stream)?;
    let [from, to, out] = [&stream, &raw, &again].map(|path| path.display().to_string());
    vmferry.run(["verify", &from])?.succeeded()?;
    vmferry.json(["export", &from, "--format", "raw", "-o", &to])?;
    let len = u64::from(spec.memory_mib) * MIB;
    let there = guest.memory(base, len)?;
    let mut ours = vec![0; there.len()];
    File::open(&raw)?.read_exact_at(&mut ours, base)?;
    ensure!(ours == there, "the memory is not that of QEMU");
    ensure!(
        ours[2 << 20..].starts_with(b"here"),
        "there is no mark in it"
    );

    let converted = vmferry.run(["convert", &from, "--to", "stream", "-o", &out])?;
    if let Some(section) = refused {
        let said = converted.refused()?;
        ensure!(said.contains(section), "{said}");
        return Ok(());
    }
    converted.succeeded()?;
    let restored = spec.restore(&again)?;
    ensure!(
        restored.memory(base, len)? == there,
        "the memory that came is another"
    );
    ensure!(
        restored.registers()? == guest.registers()?,
        "the registers are others"
    );
    Ok(())
}

#[test]
fn machines_of_other_targets_are_read_and_go_on_from_what_is_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mark = folder.path().join("mark");
    fs::write(&mark, b"here".repeat(1024))?;
    let arm = 1 << 30;
    for release in Release::ALL {
        for (target, name, mib, base, refused) in [
            (Target::Aarch64, "virt", 32, arm, None),
            (Target::Ppc64, "pseries", 256, 0, Some("spapr/htab")),
            (
                Target::S390x,
                "s390-ccw-virtio",
                32,
                0,
                Some("s390-storage_attributes"),
            ),
        ] {
            let address = base + 2 * MIB;
            let loader = format!(
                "loader,file={},addr={address:#x},force-raw=on",
                mark.display()
            );
            let mut spec = machine(release, target, name, mib, &loader);
            if target == Target::Aarch64 {
                spec = spec.arg("-cpu").arg("cortex-a57");
            }
            is_read_and_written(&spec, base, refused)
                .with_context(|| format!("{release}, {target}"))?;
        }
    }
    Ok(())
}
