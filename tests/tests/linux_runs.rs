//! Linux boots, fills its memory, works, and goes on after a restore, on every QEMU that the lab has.

use std::time::Instant;

use anyhow::Result;
use vmferry_tests::{Release, Spec, linux::Report};

#[test]
fn linux_fills_its_memory_and_goes_on_from_a_file() -> Result<()> {
    for (release, machine) in [(Release::V7_2, "pc"), (Release::V10_0, "q35")] {
        let spec = Spec::linux(release, machine);
        let began = Instant::now();
        let source = spec.start()?;
        source.wait_until_filled()?;
        println!(
            "QEMU {release}: filled {:.1?} after its start",
            began.elapsed()
        );
        let before = source.wait_for_sums(2)?;
        source.stop()?;
        let stream = source.folder().join("stream");
        source.migrate_to_file(&stream)?;

        let restored = spec.restore(&stream)?;
        restored.cont()?;
        assert_eq!(restored.wait_for_sums(2)?, before);
    }
    Ok(())
}

#[test]
fn linux_changes_its_memory_on_command() -> Result<()> {
    let guest = Spec::linux(Release::V10_0, "pc").start()?;
    guest.wait_until_filled()?;
    let mut sums = vec![guest.wait_for_sums(1)?];
    for command in ["rewrite 5", "move 2", "free 10", "rewrite 20"] {
        guest.command(command)?;
        // The first round may have begun before the command.
        sums.push(guest.wait_for_sums(2)?);
    }
    let mut different = sums.clone();
    different.dedup();
    assert_eq!(different, sums);
    let lines = guest.console().lines();
    let alive = |line: &str| matches!(Report::parse(line), Report::Heartbeat(_) | Report::Work(_));
    assert!(lines.iter().any(|line| alive(&line.text)));
    Ok(())
}
