//! What QEMU itself saves and restores keeps passing: the ground on which everything else stands.

use anyhow::Result;
use vmferry_tests::{Release, Spec};

#[test]
fn a_stopped_guest_goes_on_from_a_file() -> Result<()> {
    for release in Release::ALL {
        for machine in ["pc", "q35"] {
            let spec = Spec::pattern(release, machine);
            let source = spec.start()?;
            let before = source.wait_for_passes(2)?;
            source.stop()?;
            let stream = source.folder().join("stream");
            source.migrate_to_file(&stream)?;

            let restored = spec.restore(&stream)?;
            assert_eq!(restored.run_state()?, "paused");
            restored.cont()?;
            let after = restored.wait_for_passes(3)?;
            assert!(after >= before + 3, "pass {after} after pass {before}");
        }
    }
    Ok(())
}

#[test]
fn a_running_guest_moves_through_a_socket() -> Result<()> {
    // Not on 7.2, whose translator loses track of pages that change meanwhile.
    let spec = Spec::pattern(Release::V10_0, "q35").tell(|pattern| pattern.mib_per_second = 32);
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    let uri = format!("unix:{}", source.folder().join("migration").display());
    let target = spec.incoming(&uri).start()?;
    source.migrate(&uri)?;
    target.wait_for_passes(3)?;
    assert_eq!(source.run_state()?, "postmigrate");
    assert_eq!(target.run_state()?, "running");
    Ok(())
}

#[test]
fn a_guest_of_an_old_machine_type_moves_to_the_newer_qemu() -> Result<()> {
    let mut spec = Spec::pattern(Release::V7_2, "pc-q35-7.2");
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    source.stop()?;
    let stream = source.folder().join("stream");
    source.migrate_to_file(&stream)?;
    spec.release = Release::V10_0;
    let restored = spec.restore(&stream)?;
    restored.cont()?;
    restored.wait_for_passes(2)?;
    Ok(())
}
