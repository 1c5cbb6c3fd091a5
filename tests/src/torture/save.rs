//! A save that is going to be disturbed.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vmferry_cli::qmp::{Event, Events};

use super::cell::{Cell, How};
use super::family::Family;
use super::rig::Rig;
use super::subject::Subject;
use crate::Guest;
use crate::vmferry::{Ended, Run};

/// The VM's name.
pub(super) const VM: &str = "guest";

/// One that goes on.
#[derive(Debug)]
pub(super) struct Save<'a> {
    pub(super) began: Instant,
    guest: &'a Guest,
    /// Where it was us who started it.
    run: Option<Run>,
    events: Events,
    /// What QEMU has said of it, and when, by the clock of the machine in microseconds since 1970.
    said: Vec<(String, Option<i64>)>,
    began_us: i64,
}

impl<'a> Save<'a> {
    /// Starts it, in a process group of its own.
    pub(super) fn start(rig: &Rig, cell: &Cell, subject: &'a Subject) -> Result<Self> {
        let guest = &subject.guest;
        let events = guest.qmp().subscribe();
        let vmferry = rig.vmferry(cell);
        let stall_timeout = rig.rules.stall_timeout.as_secs_f64().to_string();
        let began = Instant::now();
        let began_us = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let began_us = i64::try_from(began_us.as_micros())?;
        let run = if cell.how.is_exec() {
            let command = vmferry.shell(&format!(
                "save {VM} --stdin --stall-timeout {stall_timeout}"
            ))?;
            let after = if cell.how == How::ExecDrained {
                "; cat >/dev/null"
            } else {
                ""
            };
            let uri = format!(
                "exec:{command} 2>{}{after}",
                guest.folder().join("said").display()
            );
            subject.execute("migrate", json!({"uri": uri}))?;
            None
        } else {
            let qmp = format!("unix:{}", guest.qmp_path().display());
            let mode = cell.how.mode();
            let words = [
                "save",
                VM,
                "--qmp",
                &qmp,
                "--mode",
                mode,
                "--stall-timeout",
                &stall_timeout,
            ];
            // Without a terminal and in a group of its own, as a shell starts its jobs; and where there is a
            // control group, in it.
            let run = match &rig.cgroup {
                Some(cgroup) => {
                    let script = "echo $$ >\"$0\" && exec setsid \"$@\"";
                    let members = cgroup.members();
                    vmferry.start_by(
                        &[
                            "sh".as_ref(),
                            "-c".as_ref(),
                            script.as_ref(),
                            members.as_os_str(),
                        ],
                        words,
                    )?
                }
                None => vmferry.start_by(&["setsid".as_ref()], words)?,
            };
            Some(run)
        };
        Ok(Self {
            began,
            guest,
            run,
            events,
            said: Vec::new(),
            began_us,
        })
    }

    /// Its processes.
    pub(super) fn family(&self) -> Family<'_> {
        match &self.run {
            Some(run) => Family::Ours(run),
            None => Family::Of(self.guest),
        }
    }

    /// Whether all of its processes have ended, and QEMU has no migration under way.
    pub(super) fn is_over(&self) -> bool {
        let running = self
            .run
            .as_ref()
            .is_some_and(|run| run.process().is_running());
        !running && self.family().members().is_empty()
    }

    /// The process that we have started, if it was us.
    pub(super) fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Waits until QEMU has said something of it.
    pub(super) fn wait_for_event(&mut self, wanted: &str, deadline: Instant) {
        while let Ok(event) = self.events.receiver().recv_deadline(deadline) {
            if self.take(&event) == Some(wanted) {
                return;
            }
        }
    }

    /// The last that QEMU has said of it.
    pub(super) fn phase(&mut self) -> &str {
        self.listen();
        self.said.last().map_or("nothing said", |(what, _)| what)
    }

    /// How long it took until QEMU said something, and all that it has said.
    pub(super) fn seen(&mut self) -> (Duration, Vec<String>) {
        self.listen();
        let first = self.said.first().and_then(|(_, at)| *at);
        let setup = first.and_then(|at| u64::try_from(at - self.began_us).ok());
        let events = self.said.iter().map(|(what, _)| what.clone()).collect();
        (Duration::from_micros(setup.unwrap_or_default()), events)
    }

    fn listen(&mut self) {
        while let Ok(event) = self.events.receiver().try_recv() {
            self.take(&event);
        }
    }

    /// A change of the migration or of the guest is kept.
    fn take(&mut self, event: &Event) -> Option<&str> {
        let what = match event.migration_status() {
            Some(status) => status.to_owned(),
            None if ["STOP", "RESUME"].contains(&event.name.as_str()) => event.name.to_lowercase(),
            None => return None,
        };
        self.said.push((what, event.timestamp_us));
        self.said.last().map(|(what, _)| what.as_str())
    }

    /// What it has said.
    pub(super) fn said(&self) -> String {
        match &self.run {
            Some(run) => run.stderr().trim().to_owned(),
            None => std::fs::read_to_string(self.guest.folder().join("said")).unwrap_or_default(),
        }
    }

    /// How it ended.
    pub(super) fn end(self) -> Result<Ended> {
        self.run.context("it was QEMU that started it")?.end()
    }

    /// How it has ended, in a few words.
    pub(super) fn outcome(&mut self) -> String {
        let Some(run) = &mut self.run else {
            let status = self.guest.qmp().execute_with(
                "query-migrate",
                Value::Null,
                &[],
                Duration::from_secs(2),
            );
            let status = status
                .ok()
                .and_then(|status| Some(status["status"].as_str()?.to_owned()));
            return format!("migration {}", status.as_deref().unwrap_or("unknown"));
        };
        if run.process().is_running() {
            return "goes on".to_owned();
        }
        run.wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}
