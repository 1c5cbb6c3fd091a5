//! The guest under torture, and the settings that it has.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::pulse::{Processors, Pulse, Used};
use crate::{Backend, Guest, Linux, Release, Spec, spec::Program};

/// How long its monitor may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How often something is looked at that nobody announces.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Its memory, in MiB.
    pub memory: u32,
    /// How much of it it fills.
    pub fill: u32,
}

/// A Linux guest with settings that are not QEMU's own.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) guest: Guest,
    processors: Processors,
    /// What is to be found after each run.
    settings: Settings,
}

/// All capabilities and parameters of a QEMU.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    capabilities: Map<String, Value>,
    parameters: Map<String, Value>,
}

impl Subject {
    /// What it is made of.
    pub(super) fn spec(release: Release, size: Size) -> Spec {
        let mut spec = Spec::linux(release, "q35").memory(size.memory, Backend::Anonymous);
        spec.program = Program::Linux(Linux {
            fill_mib: size.fill,
            check: true,
        });
        // For those who look into a failure: which thread is whose.
        spec.arg("-name").arg("guest,debug-threads=on")
    }

    /// A fresh one, that has filled its memory.
    pub(super) fn start(release: Release, size: Size) -> Result<Self> {
        let guest = Self::spec(release, size).start()?;
        guest.wait_until_filled()?;
        // Settings as their owner might have them: who puts back QEMU's own is found out.
        guest.execute(
            "migrate-set-parameters",
            json!({"max-bandwidth": 96 << 20, "downtime-limit": 400}),
        )?;
        let mut subject = Self {
            processors: Processors::of(&guest)?,
            settings: Settings::of(&guest)?,
            guest,
        };
        subject.prepare(false)?;
        Ok(subject)
    }

    /// Sets it up for a save by QEMU's own `exec:`, or by vmferry.
    pub(super) fn prepare(&mut self, exec: bool) -> Result<()> {
        let on = |name: &str, state: bool| json!({"capability": name, "state": state});
        let exec_off = [
            on("background-snapshot", false),
            on("xbzrle", true),
            on("late-block-activate", true),
        ];
        let exec_on = [
            on("xbzrle", false),
            on("late-block-activate", false),
            on("background-snapshot", true),
        ];
        let list = json!({"capabilities": if exec { exec_on } else { exec_off }});
        self.execute("migrate-set-capabilities", list)?;
        self.settings = Settings::of(&self.guest)?;
        Ok(())
    }

    /// Runs a monitor command, if the monitor answers in time.
    pub(super) fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        Ok(self
            .guest
            .qmp()
            .execute_with(command, arguments, &[], ANSWER)?)
    }

    /// What the processors have used so far.
    pub(super) fn used(&self) -> Used {
        self.processors.used()
    }

    /// Which settings are not as they were; empty if all are, within `patience`.
    pub(super) fn differences(&self, patience: Duration) -> Result<Vec<String>> {
        let deadline = Instant::now() + patience;
        loop {
            let found = Settings::of(&self.guest)?.differences(&self.settings);
            if found.is_empty() || Instant::now() > deadline {
                return Ok(found);
            }
            self.pause();
        }
    }

    /// Waits a little: until the guest says something, but not for long.
    pub(super) fn pause(&self) {
        let console = self.guest.console();
        let _ = console.wait_from(console.position(), "a line", Instant::now() + LOOK, |_| {
            Some(())
        });
    }

    /// Waits until it has ticked steadily, with all of its processors: whether it has.
    pub(super) fn ticks_steadily(&self, patience: Duration) -> bool {
        let (from, used) = (Instant::now(), self.used());
        let position = self.guest.console().position();
        while from.elapsed() < patience {
            if Pulse::of(&self.guest, position).is_steady(from) && self.used().is_more_than(&used) {
                return true;
            }
            self.pause();
        }
        false
    }

    /// Lets it go on after a run that has failed, with the settings that it had. Whether that helped.
    pub(super) fn repair(&self) -> bool {
        let again = || -> Result<()> {
            let state = self.execute("query-status", Value::Null)?;
            if state["running"] != true {
                self.execute("cont", Value::Null)?;
            }
            let migration = self.execute("query-migrate", Value::Null)?;
            let at_rest = ["none", "completed", "failed", "cancelled"];
            let status = migration["status"].as_str().unwrap_or("none");
            anyhow::ensure!(at_rest.contains(&status), "the migration is '{status}'");
            let list = self.settings.capabilities.iter();
            let list: Vec<_> = list
                .map(|(name, state)| json!({"capability": name, "state": state}))
                .collect();
            self.execute("migrate-set-capabilities", json!({"capabilities": list}))?;
            let parameters = Settings::of(&self.guest)?.to_put_back(&self.settings);
            if !parameters.is_empty() {
                self.execute("migrate-set-parameters", Value::Object(parameters))?;
            }
            Ok(())
        };
        again().is_ok()
            && self
                .differences(Duration::ZERO)
                .is_ok_and(|found| found.is_empty())
            && self.ticks_steadily(Duration::from_secs(5))
    }

    /// What its monitor and its threads show, for those who look into a failure.
    pub(super) fn describe(&self) -> String {
        let ask = |command| match self.guest.qmp().execute_with(
            command,
            Value::Null,
            &[],
            Duration::from_secs(2),
        ) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        };
        let status = ask("query-status");
        let migration = ask("query-migrate");
        let threads = super::family::threads(&format!("/proc/{}", self.guest.pid()));
        format!("query-status: {status}\nquery-migrate: {migration}\nQEMU's threads: {threads}")
    }
}

impl Settings {
    fn of(guest: &Guest) -> Result<Self> {
        let ask = |command| guest.qmp().execute_with(command, Value::Null, &[], ANSWER);
        let list = ask("query-migrate-capabilities")?;
        let entry = |entry: &Value| {
            Some((
                entry["capability"].as_str()?.to_owned(),
                entry["state"].clone(),
            ))
        };
        let capabilities = list
            .as_array()
            .context("no capabilities")?
            .iter()
            .filter_map(entry)
            .collect();
        match ask("query-migrate-parameters")? {
            Value::Object(parameters) => Ok(Self {
                capabilities,
                parameters,
            }),
            other => anyhow::bail!("parameters that are no object: {other}"),
        }
    }

    fn differences(&self, wanted: &Self) -> Vec<String> {
        let pairs = [
            (&self.capabilities, &wanted.capabilities),
            (&self.parameters, &wanted.parameters),
        ];
        let changed = |(now, before): (&Map<String, Value>, &Map<String, Value>)| {
            let names = before
                .keys()
                .chain(now.keys().filter(|name| !before.contains_key(*name)));
            let differ = names.filter(|name| now.get(*name) != before.get(*name));
            let value = |map: &Map<String, Value>, name: &str| {
                map.get(name)
                    .map_or_else(|| "missing".into(), Value::to_string)
            };
            differ
                .map(|name| {
                    format!(
                        "{name} is {}, was {}",
                        value(now, name),
                        value(before, name)
                    )
                })
                .collect::<Vec<_>>()
        };
        pairs.into_iter().flat_map(changed).collect()
    }

    fn to_put_back(&self, wanted: &Self) -> Map<String, Value> {
        let changed = wanted
            .parameters
            .iter()
            .filter(|(name, value)| self.parameters.get(*name) != Some(value));
        changed
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}
