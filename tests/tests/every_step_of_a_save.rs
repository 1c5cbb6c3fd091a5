//! The model in `docs/decisions/2026-11-28-two-processes-of-a-save.md`, walked with real QEMUs: at every step of a save one of its
//! processes dies or hangs, or both die, or QEMU stands still. Each time the guest goes on, with the settings that it had.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;
use vmferry_tests::vmferry::Run;
use vmferry_tests::{Backend, Guest, PATIENCE, Release, Spec, Vmferry};

const MODES: [&str; 3] = ["snapshot", "stop", "live"];

/// The saver's steps: before and after each change, and at both ends of the stream.
const STEPS: [&str; 6] = [
    "saver:guarded",
    "saver:noted",
    "saver:set",
    "saver:begun",
    "saver:read",
    "saver:settled",
];

/// What is done, and what helps afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Help {
    /// Nothing has to: one of the two is left.
    None,
    /// `vmferry recover`.
    Recover,
    /// A process that was stopped goes on.
    Continue,
}

struct Stage {
    guest: Guest,
    vmferry: Vmferry,
    settings: (Value, Value),
}

impl Stage {
    fn new(release: Release) -> Result<Self> {
        let spec = Spec::pattern(release, "q35")
            .memory(96, Backend::Anonymous)
            .tell(|pattern| {
                (pattern.zero_percent, pattern.text_percent) = (20, 60);
                pattern.checked_mib = 16;
            });
        let guest = spec.start()?;
        guest.wait_for_passes(1)?;
        let settings = settings(&guest)?;
        let vmferry = Vmferry::new()?;
        Ok(Self {
            guest,
            vmferry,
            settings,
        })
    }

    fn save(&self, mode: &str, fault: &str) -> Result<Run> {
        let qmp = format!("unix:{}", self.guest.qmp_path().display());
        let fault = format!("VMFERRY_FAULT={fault}");
        let qemu = format!("VMFERRY_FAULT_QEMU={}", self.guest.pid());
        let by = ["env", &fault, &qemu].map(AsRef::as_ref);
        let words = ["save", "guest", "--qmp", &qmp, "--mode", mode];
        let words = [&words[..], &["--stall-timeout", "0.3"]].concat();
        self.vmferry.start_by(&by, words)
    }

    /// One save that goes wrong, and what has to be true afterwards.
    fn walk(&self, mode: &str, fault: &str, help: Help) -> Result<()> {
        let step = || -> Result<()> {
            let mut run = self.save(mode, fault)?;
            if help == Help::Continue && fault.contains("=stop-qemu") {
                run.wait()?;
                kill_process(self.qemu()?, Signal::CONT)?;
            }
            run.wait()?;
            if help == Help::Continue {
                for pid in run.process().family() {
                    kill_process(pid, Signal::CONT)?;
                }
            }
            until_gone(&run.process().family()).with_context(|| run.stderr())?;
            if help == Help::Recover {
                let qmp = format!("unix:{}", self.guest.qmp_path().display());
                self.vmferry.run(["recover", "--qmp", &qmp])?.succeeded()?;
            }
            self.is_unharmed().with_context(|| run.stderr())
        };
        step().with_context(|| format!("{mode}, {fault}"))
    }

    fn qemu(&self) -> Result<Pid> {
        Pid::from_raw(self.guest.pid().try_into()?).context("no process id")
    }

    fn is_unharmed(&self) -> Result<()> {
        self.guest.wait_for_state("running")?;
        self.guest.wait_for_passes(1)?;
        let now = settings(&self.guest)?;
        ensure!(now == self.settings, "{now:?}, not {:?}", self.settings);
        let notes: Vec<_> = std::fs::read_dir(self.vmferry.runtime_folder())?.collect();
        ensure!(notes.is_empty(), "{notes:?}");
        Ok(())
    }

    /// The next save works, and of those before nothing is left that is not a checkpoint.
    fn ends_well(&self) -> Result<()> {
        self.vmferry.save(&self.guest, "guest", "snapshot")?;
        let left: Vec<_> = std::fs::read_dir(self.vmferry.store().join("tmp"))?.collect();
        ensure!(left.is_empty(), "{left:?}");
        for id in self.vmferry.checkpoints()? {
            self.vmferry.run(["verify", &id])?.succeeded()?;
        }
        Ok(())
    }
}

fn settings(guest: &Guest) -> Result<(Value, Value)> {
    Ok((
        guest.execute("query-migrate-capabilities", Value::Null)?,
        guest.execute("query-migrate-parameters", Value::Null)?,
    ))
}

/// Waits until these processes have ended.
fn until_gone(family: &[Pid]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for pid in family {
        // One that is gone cannot be opened.
        let Ok(process) = pidfd_open(*pid, PidfdFlags::empty()) else {
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(&process, PollFlags::IN)];
        let ended = poll(&mut polled, left.try_into().ok().as_ref())? > 0;
        ensure!(ended, "process {pid:?} does not end");
    }
    Ok(())
}

#[test]
fn a_saver_or_both_processes_may_die_at_any_step() -> Result<()> {
    for release in Release::ALL {
        let stage = Stage::new(release)?;
        for mode in MODES {
            for step in STEPS {
                stage.walk(mode, &format!("{step}=kill"), Help::None)?;
                stage.walk(mode, &format!("{step}=kill-both"), Help::Recover)?;
            }
        }
        stage.ends_well()?;
    }
    Ok(())
}

#[test]
fn a_guardian_may_die_at_any_step() -> Result<()> {
    for release in Release::ALL {
        let stage = Stage::new(release)?;
        for (number, step) in STEPS.iter().enumerate() {
            let mode = MODES[number % MODES.len()];
            stage.walk(mode, &format!("{step}=kill-guardian"), Help::None)?;
        }
        for (number, step) in ["planned", "ready", "gets-a-plan"].iter().enumerate() {
            let mode = MODES[number % MODES.len()];
            stage.walk(mode, &format!("guardian:{step}=kill"), Help::None)?;
        }
        for step in ["takes-over", "settled"] {
            for mode in MODES {
                let fault = format!("saver:begun=kill,guardian:{step}=kill");
                stage.walk(mode, &fault, Help::Recover)?;
            }
        }
        stage.ends_well()?;
    }
    Ok(())
}

#[test]
fn either_process_may_hang_at_any_step() -> Result<()> {
    for release in Release::ALL {
        let stage = Stage::new(release)?;
        for (number, step) in STEPS.iter().enumerate() {
            let (one, other) = (MODES[number % 3], MODES[(number + 1) % 3]);
            stage.walk(one, &format!("{step}=stop"), Help::None)?;
            stage.walk(other, &format!("{step}=stop-guardian"), Help::Continue)?;
        }
        stage.ends_well()?;
    }
    Ok(())
}

#[test]
fn qemu_may_stand_still_for_longer_than_every_time_out() -> Result<()> {
    for release in Release::ALL {
        let stage = Stage::new(release)?;
        for (step, mode) in [
            ("saver:set", "snapshot"),
            ("saver:begun", "stop"),
            ("saver:begun", "live"),
        ] {
            stage.walk(mode, &format!("{step}=stop-qemu"), Help::Continue)?;
        }
        stage.ends_well()?;
    }
    Ok(())
}
