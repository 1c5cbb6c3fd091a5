//! The guests run, on every QEMU that the lab has.

use anyhow::Result;
use vmferry_tests::{Backend, Release, Report, Spec};

#[test]
fn the_pattern_guest_passes_on_every_qemu_and_machine() -> Result<()> {
    for release in Release::ALL {
        for machine in ["pc", "q35"] {
            let guest = Spec::pattern(release, machine).start()?;
            guest.wait_for_passes(3)?;
            guest.quit()?;
        }
    }
    Ok(())
}

#[test]
fn the_pattern_guest_passes_with_little_memory() -> Result<()> {
    for release in Release::ALL {
        let small = Spec::pattern(release, "pc").memory(16, Backend::Anonymous);
        small.start()?.wait_for_passes(3)?;
    }
    Ok(())
}

#[test]
fn the_pattern_guest_checks_memory_above_4_gib() -> Result<()> {
    // On q35, 2 GiB of 3000 MiB lie below.
    let large = Spec::pattern(Release::V10_0, "q35").memory(3000, Backend::Anonymous);
    let large = large.tell(|pattern| (pattern.zero_percent, pattern.text_percent) = (95, 2));
    let large = large.start()?;
    large.wait_for_passes(1)?;
    let lines = large.console().lines();
    let said = |wanted: &str| lines.iter().any(|line| line.text.contains(wanted));
    assert!(said("in 2 ranges"), "{lines:?}");
    Ok(())
}

#[test]
fn the_heart_of_the_pattern_guest_beats_between_its_passes() -> Result<()> {
    let guest = Spec::pattern(Release::V10_0, "pc").start()?;
    guest.wait_for_passes(3)?;
    let lines = guest.console().lines();
    let beats = lines
        .iter()
        .filter_map(|line| match Report::parse(&line.text) {
            Report::Heartbeat(ticks) => Some(ticks),
            _ => None,
        });
    let beats: Vec<_> = beats.collect();
    assert!(beats.windows(2).all(|pair| pair[0] < pair[1]), "{beats:?}");
    assert!(!beats.is_empty());
    Ok(())
}
