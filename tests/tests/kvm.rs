//! The same on KVM; `./x test` runs these where `/dev/kvm` can be opened, and says so either way.

use anyhow::{Result, ensure};
use vmferry_tests::{Accel, Release, Spec};

fn kvm(release: Release, machine: &str) -> Result<Spec> {
    ensure!(
        Accel::Kvm.is_here(),
        "these tests need a /dev/kvm that may be opened"
    );
    Ok(Spec::pattern(release, machine).accel(Accel::Kvm))
}

#[test]
fn the_pattern_guest_passes_under_kvm_and_goes_on_from_a_file() -> Result<()> {
    for release in Release::ALL {
        for machine in ["pc", "q35"] {
            let spec = kvm(release, machine)?;
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
