//! The end of a restore: QEMU has been sent everything, and the guest gets into the state that it is to be in.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use crossbeam_channel::{after, select};
use serde_json::Value;

use super::check::{Start, disk_is_held};
use super::explain::GaveUp;
use crate::machine;
use crate::migration::{self, Status};
use crate::qmp::{Client, Error, Event, Events};
use crate::ui::{self, Interrupted, Signals};

/// How often the state is asked for when no event announces it.
const LOOK: Duration = Duration::from_millis(20);

/// How long a state may last that usually passes at once.
const PASSING: Duration = Duration::from_millis(500);

/// After this long, a person who looks on wants to know what is waited for.
const SILENCE: Duration = Duration::from_secs(3);

/// How long QEMU may take to complete once it has everything.
const COMPLETE: Duration = Duration::from_secs(60);

/// A guest that is there.
pub(super) struct Arrived {
    pub(super) run_state: String,
    /// When it began to run, by QEMU's clock.
    pub(super) resumed_us: Option<i64>,
    /// Why it does not run, where that was not asked for.
    pub(super) stands_still: Option<&'static str>,
}

/// What is waited for.
pub(super) struct Arrival<'a> {
    pub(super) client: &'a Client,
    pub(super) events: &'a Events,
    pub(super) signals: &'a Signals,
    pub(super) start: Start,
}

/// What is seen of QEMU at one moment.
struct Look<'a> {
    status: &'a Status,
    run_state: &'a str,
    resumed_us: Option<i64>,
    /// For how long both have been as they are.
    lasts: Duration,
}

/// What is made of it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It will pass.
    Wait,
    There(Option<&'static str>),
    /// The machine is loaded, and QEMU has not let it run.
    NotStarted,
    /// It will not get there.
    Failed(String),
}

impl Arrival<'_> {
    /// Waits until the guest is in the state that it is to be in, or in one from which it does not get there.
    pub(super) fn wait(&self) -> Result<Arrived> {
        let began = Instant::now();
        let mut announced = false;
        let mut resumed_us = None;
        let mut last = (String::new(), String::new());
        let mut since = began;
        loop {
            self.wait_a_little(&mut resumed_us)?;
            let status = migration::query(self.client)?;
            let run_state = machine::run_state(self.client)?;
            let now = (status.name().to_owned(), run_state.clone());
            if now != last {
                (last, since) = (now, Instant::now());
            }
            let look = Look {
                status: &status,
                run_state: &run_state,
                resumed_us,
                lasts: since.elapsed(),
            };
            match look.judge(self.start) {
                Verdict::Wait => {}
                Verdict::There(stands_still) => {
                    return Ok(Arrived {
                        run_state,
                        resumed_us,
                        stands_still,
                    });
                }
                Verdict::NotStarted => {
                    self.start(&run_state)?;
                    since = Instant::now();
                }
                Verdict::Failed(why) => bail!(GaveUp(why)),
            }
            let (waited, (migration, run_state)) = (began.elapsed(), &last);
            let state = format!("migration '{migration}', run state '{run_state}'");
            if waited > COMPLETE {
                bail!("QEMU has everything, but has not completed within {COMPLETE:?} ({state})");
            }
            if waited > SILENCE && !announced {
                announced = true;
                ui::note(format_args!(
                    "QEMU has everything; waiting until it has loaded the machine ({state})"
                ));
            }
        }
    }

    /// Until an event comes, or it is time to look anyway.
    fn wait_a_little(&self, resumed_us: &mut Option<i64>) -> Result<()> {
        let mut see = |event: &Event| {
            if event.name == "RESUME" {
                *resumed_us = resumed_us.or(event.timestamp_us);
            }
        };
        select! {
            recv(self.events.receiver()) -> event => match event {
                Ok(event) => see(&event),
                Err(_) => bail!(GaveUp("QEMU has gone while it loaded the machine".into())),
            },
            recv(self.signals.receiver()) -> signal => {
                bail!(signal.unwrap_or(Interrupted(2)));
            }
            recv(after(LOOK)) -> _ => {}
        }
        while let Ok(event) = self.events.receiver().try_recv() {
            see(&event);
        }
        Ok(())
    }

    /// Lets a guest run that QEMU has not let run, or says why that cannot be.
    fn start(&self, run_state: &str) -> Result<()> {
        if run_state == "inmigrate" {
            // 10.0: nothing that a monitor can say gets it out of there.
            return match machine::take_disks(self.client)? {
                Some(why) => bail!(
                    "{}. The machine is loaded, but this QEMU cannot start it any more: end it, and restore into \
                     another",
                    disk_is_held(self.client, &why)
                ),
                None => Ok(()),
            };
        }
        match self.client.execute("cont", Value::Null) {
            Ok(_) => Ok(()),
            Err(Error::Refused { description, .. }) => bail!(
                "{}. The machine is loaded and stands still: 'cont' in QEMU's monitor lets it go on then",
                disk_is_held(self.client, &description)
            ),
            Err(error) => bail!(error),
        }
    }
}

impl Look<'_> {
    fn judge(&self, start: Start) -> Verdict {
        match self.status.name() {
            "completed" => self.judge_guest(start),
            "failed" | "failing" => Verdict::Failed(match &self.status.error_desc {
                Some(why) => format!("QEMU could not load the machine: {why}"),
                None => "QEMU could not load the machine".into(),
            }),
            "cancelled" | "cancelling" => {
                Verdict::Failed("somebody has cancelled the migration in QEMU's monitor".into())
            }
            "postcopy-paused" => Verdict::Failed("QEMU has lost the channel".into()),
            _ => Verdict::Wait,
        }
    }

    /// The migration has completed: what of the guest?
    fn judge_guest(&self, start: Start) -> Verdict {
        let for_long = self.lasts > PASSING;
        match (start, self.run_state) {
            // Whatever it is in now: it ran.
            (Start::Runs | Start::AsQemuWasStarted, _) if self.resumed_us.is_some() => {
                Verdict::There(None)
            }
            (Start::Runs | Start::AsQemuWasStarted, "running") => match for_long {
                true => Verdict::There(None),
                // Its event says since when.
                false => Verdict::Wait,
            },
            (_, "inmigrate") if !for_long => Verdict::Wait,
            (Start::HeldBack, state) if state != "inmigrate" => Verdict::There(Some(
                "this QEMU was started with -S: 'cont' in its monitor lets the guest go on",
            )),
            (Start::Stays, state) if state != "inmigrate" => Verdict::There(None),
            _ if !for_long => Verdict::Wait,
            (Start::AsQemuWasStarted, "paused" | "prelaunch") => Verdict::There(Some(
                "this QEMU was started with -S, or cannot take its disks: 'cont' in its monitor lets the guest go \
                 on, or says why not",
            )),
            (_, "inmigrate" | "paused" | "prelaunch") => Verdict::NotStarted,
            (_, state) => Verdict::Failed(format!(
                "QEMU has loaded the machine, but its guest does not run (run state '{state}')"
            )),
        }
    }
}
