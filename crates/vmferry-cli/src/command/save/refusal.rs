//! What is refused, and what to do about it.

use std::fs;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;
use vmferry_store::manifest::SaveMode;

use crate::args::Mode;
use crate::machine;
use crate::migration::{self, Status};
use crate::qmp::{self, Client};
use crate::ui;

/// What a save of a guest in this run state does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guest {
    /// It runs, and has to run behind the save.
    Running,
    /// It stands still, and stays so.
    Still,
}

/// Whether a machine in this run state can be saved.
pub(super) fn check_run_state(run_state: &str) -> Result<Guest> {
    match run_state {
        "running" => Ok(Guest::Running),
        "paused" | "prelaunch" | "shutdown" | "io-error" | "watchdog" | "guest-panicked"
        | "debug" => Ok(Guest::Still),
        "inmigrate" => bail!("this QEMU waits for an incoming migration: there is no guest yet"),
        "postmigrate" => bail!(
            "this machine was migrated away, or saved while it stood still ('postmigrate'), and QEMU \
             lets it be saved again only after it has run: if it is to go on here, say 'cont' in its \
             monitor, then save it"
        ),
        "finish-migrate" | "save-vm" | "restore-vm" | "colo" => {
            bail!(
                "a migration or snapshot is just ending (run state '{run_state}'); try again when it has"
            )
        }
        "suspended" => bail!(
            "the guest sleeps (ACPI S3), and older QEMUs forget that when they are saved; wake it up \
             first ('system_wakeup')"
        ),
        other => bail!("a machine in run state '{other}' cannot be saved"),
    }
}

/// Whether nothing else is under way.
pub(super) fn check_migration(status: &Status) -> Result<()> {
    if status.name().starts_with("postcopy") {
        bail!(
            "this machine's memory is being brought to it, or to the QEMU that it moved to (status '{}'): do not end \
             this QEMU, and do not cancel, or the guest is lost; save it when that has ended",
            status.name()
        );
    }
    if status.is_under_way() {
        bail!(
            "a migration of this machine is under way (status '{}'): wait for its end, or cancel it",
            status.name()
        );
    }
    if !status.blocked_reasons.is_empty() {
        let reasons = status.blocked_reasons.join("; ");
        bail!("this machine cannot be saved at present: {reasons}");
    }
    Ok(())
}

/// QEMU cannot take a background snapshot of this machine: why, and what can be done instead.
pub(super) fn no_snapshot(client: &Client, mode: Mode, why: &str) -> anyhow::Error {
    let pause = expected_pause(client).map(|pause| {
        format!(
            " (the guest stands still for about {})",
            ui::duration(pause)
        )
    });
    let mut text = format!("QEMU takes no background snapshot of this machine: {why}");
    if let Some(rights) = missing_rights(client) {
        text.push_str(&format!("\n{rights}"));
    }
    if mode == Mode::Snapshot {
        text.push_str(&format!(
            "\nTo save it all the same, use --mode stop{}, --mode live, or --mode auto, which falls \
             back to 'stop' by itself",
            pause.unwrap_or_default()
        ));
    }
    anyhow!(text)
}

/// A save that failed, with the jobs that may have kept QEMU from giving up its disks: it has to at the end of a
/// migration, but not for a background snapshot.
pub(super) fn with_jobs(client: &Client, mode: &SaveMode, error: anyhow::Error) -> anyhow::Error {
    if *mode == SaveMode::Snapshot {
        return error;
    }
    let failed = migration::glance(client)
        .is_ok_and(|status| status.is_some_and(|status| status.name() == "failed"));
    let jobs = match failed {
        true => machine::block_jobs(client),
        false => Vec::new(),
    };
    match about_jobs(&jobs) {
        Some(why) => error.context(why),
        None => error,
    }
}

fn about_jobs(jobs: &[String]) -> Option<String> {
    if jobs.is_empty() {
        return None;
    }
    let (which, it) = match jobs {
        [job] => (format!("job {job} is"), "it"),
        jobs => (format!("jobs {} are", jobs.join(", ")), "they"),
    };
    Some(format!(
        "{which} at work on a disk, which QEMU must give up at the end of such a save: use --mode snapshot, which \
         works next to {}, or wait until {it} {} ended",
        if it == "it" { "it" } else { "them" },
        if it == "it" { "has" } else { "have" },
    ))
}

/// Bytes of guest memory that QEMU sends in a second, stopped: what a slow machine was seen to do.
const STOPPED_RATE: u64 = 600 << 20;

fn expected_pause(client: &Client) -> Option<Duration> {
    let summary = client
        .execute("query-memory-size-summary", Value::Null)
        .ok()?;
    let bytes = |member| summary.get(member).and_then(Value::as_u64).unwrap_or(0);
    let total = bytes("base-memory") + bytes("plugged-memory");
    Some(Duration::from_secs(total.div_ceil(STOPPED_RATE)))
}

/// The usual reason on a machine where QEMU does not run as root.
pub(in crate::command) fn missing_rights(client: &Client) -> Option<&'static str> {
    let pid = client.peer_pid().ok()?.as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let effective = uid.split_whitespace().nth(1)?;
    let setting = fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd").ok()?;
    (effective != "0" && setting.trim() == "0").then_some(
        "This QEMU runs as an ordinary user, which may not watch its own memory here: allow it with \
         'sysctl vm.unprivileged_userfaultfd=1'",
    )
}

/// What to do about a monitor that cannot be spoken to.
pub(in crate::command) fn no_monitor(error: qmp::Error) -> anyhow::Error {
    let advice = match &error {
        qmp::Error::Connect { source, .. } => match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                Some("is the machine running, with '-qmp unix:SOCKET,server=on,wait=off'?")
            }
            std::io::ErrorKind::PermissionDenied => Some(
                "the socket belongs to somebody else: run as the user whose QEMU it is, or as root",
            ),
            _ => None,
        },
        qmp::Error::HumanMonitor => {
            Some("give QEMU a QMP monitor, too: '-qmp unix:OTHER-SOCKET,server=on,wait=off'")
        }
        qmp::Error::NoGreeting { .. } => Some(
            "give QEMU a second monitor for vmferry: '-qmp unix:OTHER-SOCKET,server=on,wait=off'",
        ),
        _ => None,
    };
    match advice {
        // What to do comes behind what is wrong.
        Some(advice) => anyhow!("{}; {advice}", ui::chain(&error.into())),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_was_migrated_away_or_waits_for_one_is_not_saved() {
        assert_eq!(check_run_state("running").unwrap(), Guest::Running);
        assert_eq!(check_run_state("paused").unwrap(), Guest::Still);
        for refused in [
            "inmigrate",
            "postmigrate",
            "finish-migrate",
            "suspended",
            "never-heard",
        ] {
            assert!(check_run_state(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_guest_that_waits_for_its_memory_is_not_given_up() {
        for status in ["postcopy-paused", "postcopy-active"] {
            let status = Status {
                status: Some(status.into()),
                ..Status::default()
            };
            let error = check_migration(&status).unwrap_err().to_string();
            assert!(error.contains("do not cancel"), "{error}");
        }
    }

    #[test]
    fn jobs_on_disks_are_named_with_the_mode_that_works_next_to_them() {
        assert_eq!(about_jobs(&[]), None);
        let one = about_jobs(&["'b' (backup)".into()]).unwrap();
        assert!(one.starts_with("job 'b' (backup) is at work"), "{one}");
        let two = about_jobs(&["'b' (backup)".into(), "'m' (mirror)".into()]).unwrap();
        assert!(
            two.contains("works next to them, or wait until they have"),
            "{two}"
        );
    }

    #[test]
    fn what_blocks_a_migration_is_told() {
        let status = Status {
            blocked_reasons: vec!["The qcow3 format is locked".into()],
            ..Status::default()
        };
        let error = check_migration(&status).unwrap_err().to_string();
        assert!(error.contains("qcow3"), "{error}");
    }
}
