//! Without a monitor: `migrate "exec:vmferry save …"` and `-incoming "exec:vmferry serve …"`.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use vmferry_tests::{Guest, PATIENCE, Release, Spec, Vmferry};

/// QEMU ignores how its command ends, and goes on before the checkpoint is there.
fn wait_for_checkpoint(vmferry: &Vmferry) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while vmferry.checkpoints()?.is_empty() {
        ensure!(Instant::now() < deadline, "no checkpoint has appeared");
    }
    Ok(())
}

fn save(vmferry: &Vmferry, guest: &Guest, snapshot: bool) -> Result<()> {
    let capabilities = json!([{"capability": "background-snapshot", "state": snapshot}]);
    guest.execute(
        "migrate-set-capabilities",
        json!({"capabilities": capabilities}),
    )?;
    guest.migrate(&format!("exec:{}", vmferry.shell("save guest --stdin")?))?;
    wait_for_checkpoint(vmferry)
}

#[test]
fn a_guest_is_saved_and_served_by_commands_of_qemu() -> Result<()> {
    for release in Release::ALL {
        for snapshot in [true, false] {
            let vmferry = Vmferry::new()?;
            let spec = Spec::pattern(release, "q35");
            let source = spec.start()?;
            source.wait_for_passes(2)?;
            if snapshot {
                save(&vmferry, &source, true)?;
                source.wait_for_passes(2)?;
            } else {
                source.stop()?;
                save(&vmferry, &source, false)?;
            }
            drop(source);

            let serve = format!("exec:{}", vmferry.shell("serve guest")?);
            let full = spec.clone().incoming(&serve).start()?;
            if !snapshot {
                full.wait_for_state("paused")?;
                full.cont()?;
            }
            full.wait_for_passes(3)?;
            drop(full);

            let serve = format!("exec:{}", vmferry.shell("serve guest --lazy")?);
            let lazy = spec.clone().incoming(&serve);
            let lazy = lazy
                .arg("-global")
                .arg("migration.x-postcopy-ram=on")
                .start()?;
            // A destination of postcopy runs whatever the machine's state was.
            lazy.wait_for_passes(3)?;
        }
    }
    Ok(())
}

#[test]
fn a_guest_on_huge_pages_is_served_lazily_if_their_size_is_said() -> Result<()> {
    let _reserved = vmferry_tests::Hugepages::reserve(2 * 32 + 8)?;
    let vmferry = Vmferry::new()?;
    let spec = Spec::pattern(Release::V10_0, "pc").memory(32, vmferry_tests::Backend::Huge2M);
    let source = spec.start()?;
    source.wait_for_passes(1)?;
    source.stop()?;
    save(&vmferry, &source, false)?;
    drop(source);
    let serve = vmferry.shell("serve guest --lazy --host-page-size mem=2M")?;
    let guest = spec.incoming(&format!("exec:{serve}"));
    let guest = guest
        .arg("-global")
        .arg("migration.x-postcopy-ram=on")
        .start()?;
    guest.wait_for_passes(3).map(drop)
}

#[test]
fn the_checkpoint_knows_the_command_line_of_the_qemu_that_was_saved() -> Result<()> {
    let vmferry = Vmferry::new()?;
    let guest = Spec::pattern(Release::V10_0, "pc").start()?;
    guest.wait_for_passes(1)?;
    save(&vmferry, &guest, true)?;
    let listing = vmferry.json(["list"])?;
    let machine = &listing["checkpoints"][0]["manifest"]["machine"];
    let recorded: Vec<_> = machine["command_line"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let real = vmferry_tests::process::command_line(guest.pid())?;
    let real: Vec<_> = real
        .iter()
        .map(|word| json!(word.to_string_lossy()))
        .collect();
    ensure!(recorded.into_iter().eq(&real), "{machine}");
    ensure!(machine["machine_type"] == "pc-i440fx-10.0", "{machine}");
    ensure!(machine["run_state"] == "running", "{machine}");
    ensure!(machine["architecture"] == "x86_64", "{machine}");
    let mode = &listing["checkpoints"][0]["manifest"]["save"]["mode"];
    ensure!(mode == "snapshot", "{mode}");
    Ok(())
}

#[test]
fn a_qemu_that_is_served_nothing_ends_instead_of_waiting_for_ever() -> Result<()> {
    for release in Release::ALL {
        let vmferry = Vmferry::new()?;
        let serve = format!("exec:{}", vmferry.shell("serve nobody")?);
        let log = match Spec::pattern(release, "pc").incoming(&serve).start() {
            Ok(mut guest) => {
                ensure!(guest.wait_for_end().is_err(), "QEMU has ended well");
                guest.log()
            }
            // It may have ended before its monitor was asked for anything.
            Err(error) => format!("{error:#}"),
        };
        ensure!(log.contains("Not a migration stream"), "{log}");
        ensure!(log.contains("there is no store in"), "{log}");
    }
    Ok(())
}
