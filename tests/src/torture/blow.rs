//! Doing something to a save.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::cell::{Blow, Cell};
use super::family::{Member, Role};
use super::rig::{Rig, rest_until};
use super::save::Save;

/// What has been done.
#[derive(Debug)]
pub(super) struct Struck {
    /// From when on the guest has to tick: when it was done, or, where that kept QEMU itself from running,
    /// when it was over.
    pub(super) at: Instant,
    /// Whom it hit.
    pub(super) hit: String,
}

/// How long there may be no guardian yet; and how long a save may take to find its disk full.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does it, and what belongs to it: what was stopped goes on afterwards.
pub(super) fn strike(rig: &Rig, cell: &Cell, number: u32, save: &Save<'_>) -> Result<Struck> {
    let family = save.family();
    let only = |role| family.wait_for(role, PATIENCE);
    match cell.blow {
        Blow::KillSaver => Ok(signal(&only(Role::Saver), Signal::KILL)),
        Blow::KillGuardian => Ok(signal(&only(Role::Guardian), Signal::KILL)),
        Blow::KillBoth => {
            let cgroup = rig.by_cgroup(cell, number);
            let at = Instant::now();
            if let Some(cgroup) = cgroup {
                cgroup.kill()?;
            }
            let ours = || {
                let mut members = family.members();
                members.retain(|member| member.role != Role::Shell);
                members
            };
            let struck = signal(&ours(), Signal::KILL);
            // One may just have been born, or not have joined the group yet.
            signal(&ours(), Signal::KILL);
            Ok(match cgroup {
                Some(_) => Struck {
                    at,
                    hit: "control group".to_owned(),
                },
                None => struck,
            })
        }
        Blow::StopSaver => Ok(stop(&only(Role::Saver), rig.rules.hold)),
        Blow::StopGuardian => Ok(stop(&only(Role::Guardian), rig.rules.hold)),
        Blow::StopQemu => {
            let qemu = i32::try_from(rig.subject()?.guest.pid())
                .ok()
                .and_then(Pid::from_raw)
                .context("no QEMU")?;
            kill_process(qemu, Signal::STOP)?;
            rest_until(Instant::now() + rig.rules.hold);
            let at = Instant::now();
            kill_process(qemu, Signal::CONT)?;
            Ok(Struck {
                at,
                hit: "QEMU".to_owned(),
            })
        }
        Blow::Terminate => group(save, Signal::TERM),
        Blow::Interrupt => group(save, Signal::INT),
        Blow::HangUp => group(save, Signal::HUP),
        Blow::DiskFull => {
            // The disk was full from the beginning.
            let run = save.run().context("a save of ours")?;
            let deadline = Instant::now() + PATIENCE;
            crate::wait::readable(run.process().pidfd(), deadline)?;
            Ok(Struck {
                at: Instant::now(),
                hit: "the disk".to_owned(),
            })
        }
        Blow::DiskHangs => {
            let frozen = rig.disk()?.freeze()?;
            let at = Instant::now();
            rest_until(at + rig.rules.hold);
            drop(frozen);
            Ok(Struck {
                at,
                hit: "the disk".to_owned(),
            })
        }
    }
}

fn signal(members: &[Member], signal: Signal) -> Struck {
    let at = Instant::now();
    // One that has ended meanwhile needs no signal.
    let hit = members
        .iter()
        .filter(|member| member.signal(signal).is_ok());
    Struck {
        at,
        hit: names(hit),
    }
}

fn names<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    let name = |member: &Member| match member.role {
        Role::Saver => "saver",
        Role::Guardian => "guardian",
        Role::Shell => "shell",
    };
    match members.map(name).collect::<Vec<_>>().join(" and ") {
        names if names.is_empty() => "nobody".to_owned(),
        names => names,
    }
}

/// Stops them for a while, or until they end.
fn stop(members: &[Member], hold: Duration) -> Struck {
    let struck = signal(members, Signal::STOP);
    for member in members {
        member.ends_before(struck.at + hold);
    }
    signal(members, Signal::CONT);
    struck
}

fn group(save: &Save<'_>, signal: Signal) -> Result<Struck> {
    let run = save.run().context("a save of ours")?;
    let leader = i32::try_from(run.process().id())
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    let at = Instant::now();
    let hit = match kill_process_group(leader, signal) {
        Ok(()) => "the process group",
        // It has ended, or has no group of its own yet.
        Err(_) => match run.process().signal(signal) {
            Ok(()) => "the first process",
            Err(_) => "nobody",
        },
    };
    Ok(Struck {
        at,
        hit: hit.to_owned(),
    })
}
