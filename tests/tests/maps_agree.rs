//! What `vmferry map` counts is what other commands count, whatever a state is kept in.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmferry_tests::{Release, Spec, Vmferry};

/// A member of all blocks, summed.
fn sum(report: &Value, member: &str) -> Result<u64> {
    let blocks = report["blocks"].as_array().context("no blocks")?;
    let number = |block: &Value| block[member].as_u64().context("no number");
    blocks.iter().map(number).sum()
}

#[test]
fn a_map_counts_changed_and_zero_pages_as_diff_and_inspect_do_in_every_shape() -> Result<()> {
    let vmferry = Vmferry::new()?;
    let guest = Spec::linux(Release::V10_0, "q35").start()?;
    guest.wait_until_filled()?;
    let file = |name: &str| guest.folder().join(name).display().to_string();
    let [old, new, mapped, picture] = ["old", "new", "mapped", "picture.png"].map(file);
    guest.stop()?;
    guest.told(guest.migrate_to_file(old.as_ref()))?;
    guest.cont()?;
    guest.command("rewrite 20")?;
    guest.command("free 10")?;
    guest.stop()?;
    guest.told(guest.migrate_to_file(new.as_ref()))?;

    let map = |what: &str, against: &str| {
        let words = ["map", what, "--against", against, "-o", &picture, "--force"];
        vmferry.json(words)
    };
    let seen = map(&new, &old)?;
    ensure!(seen["assumptions"] == Value::Array(Vec::new()), "{seen:#}");
    // diff says by its exit status that there are differences.
    let diff = vmferry.run(["--json", "diff", &old, &new])?;
    let diff: Value = serde_json::from_str(&diff.stdout)?;
    let memory = &diff["memory"];
    let kinds = ["changed_pages", "newly_used_pages", "newly_zero_pages"];
    let changed: Option<u64> = kinds.iter().map(|kind| memory[kind].as_u64()).sum();
    ensure!(changed.is_some_and(|pages| pages > 1000), "{memory:#}");
    ensure!(Some(sum(&seen, "changed_pages")?) == changed, "{memory:#}");

    let alone = vmferry.json(["map", &new, "-o", &picture, "--force"])?;
    let inspect = vmferry.json(["inspect", &new])?;
    for member in ["pages", "zero_pages"] {
        ensure!(sum(&alone, member)? == sum(&inspect, member)?, "{member}");
    }
    for class in ["text_pages", "incompressible_pages"] {
        // 64 MiB are filled, half with noise and half with text.
        let pages = sum(&alone, class)?;
        ensure!(pages > 5000, "{class}: {pages}");
    }

    vmferry.json(["convert", &new, "--to", "mapped-ram", "-o", &mapped])?;
    vmferry.json(["convert", &new, "--to", "checkpoint", "web"])?;
    for shape in [mapped.as_str(), "web"] {
        let again = map(shape, &old)?;
        ensure!(again["blocks"] == seen["blocks"], "{shape}: {again:#}");
        let none = map(&new, shape)?;
        ensure!(sum(&none, "changed_pages")? == 0, "{shape}: {none:#}");
    }
    Ok(())
}
