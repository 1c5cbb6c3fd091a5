//! How soon a guest runs when its memory is brought on demand, whatever its size.

use std::time::Instant;

use anyhow::{Context, Result};
use vmferry_benches::Figures;
use vmferry_tests::{Backend, PATIENCE, Release, Vmferry};

use super::Scale;

pub(super) fn run(scale: Scale) -> Result<()> {
    println!("\n# Lazy restore");
    println!("running: from migrate-incoming until QEMU says RESUME, ms");
    println!("first byte: from the start of vmferry until the guest says something, ms");
    println!("all: from migrate-incoming until all memory is there, s");
    // The largest is sparse: most of it was never touched.
    for (memory_mib, fill_mib) in [(1024, 512), (4096, 512), (16384, 512)] {
        let scale = Scale {
            memory_mib,
            fill_mib: fill_mib.min(scale.fill_mib),
            ..scale
        };
        let vmferry = Vmferry::new()?;
        for release in Release::ALL {
            let spec = scale.guest(release, Backend::Anonymous);
            let source = spec.start()?;
            source.wait_until_filled()?;
            vmferry.save(&source, "guest", "snapshot")?;
            drop(source);
            let (mut running, mut first, mut all) = <(Figures, Figures, Figures)>::default();
            for _ in 0..2 * scale.rounds {
                let guest = spec.clone().incoming("defer").start()?;
                let began = Instant::now();
                let report = vmferry.restore(&guest, "guest", &["--lazy"])?;
                let number = |name: &str| report[name].as_f64().context("a figure is missing");
                running.push(number("running_ms")?);
                all.push(number("total_ms")? / 1e3);
                let deadline = began + PATIENCE;
                guest
                    .console()
                    .wait_for("a line", deadline, |line| Some(line.at))?;
                let byte = guest.console().first_byte().context("no byte")?;
                first.push((byte - began).as_secs_f64() * 1e3);
            }
            println!(
                "{release}  {memory_mib:>5} MiB  running {running:.1}  first byte {first:.0}  all {all:.1}"
            );
        }
    }
    Ok(())
}
