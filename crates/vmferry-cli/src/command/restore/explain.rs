//! Why a restore failed: what QEMU itself says goes before what is seen of it from the other end of a channel.

use std::time::{Duration, Instant};

use anyhow::{Error, anyhow};
use vmferry_store::StoreError;

use super::destination::{Destination, END};
use crate::machine;
use crate::migration;
use crate::qmp;
use crate::ui::Interrupted;

/// How long a QEMU may take to show that it ends: it closes the channel of the stream first.
const SHOW: Duration = Duration::from_millis(500);

/// How often its state is asked for meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// What to do about a state that QEMU does not take.
const FITS: &str = "a state fits the machine that it was saved from: the same devices at the same places, the same \
    processors, memory, and names of memory backends ('vmferry restore VM@ID' shows how it was started)";

/// QEMU has given up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct GaveUp(pub(super) String);

/// When it went wrong.
pub(super) enum Failed {
    /// There is no guest: nothing is lost.
    BeforeTheGuestRan(Error),
    /// The guest has begun to run, and may lack memory.
    WhileTheGuestRan(Error),
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::BeforeTheGuestRan(error.into())
    }
}

/// What QEMU does after a restore has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guest {
    /// It holds a guest that lacks memory.
    Waits,
    /// It has a guest that runs and lacks nothing.
    Runs,
    /// It has none, or one that nobody has seen.
    None,
}

impl Destination {
    /// Why a restore failed, with what became of QEMU; one that we started and that has no guest is ended. Nothing
    /// failed if such a QEMU ended well because its guest, which ran, did.
    pub(super) fn explain(mut self, failed: Failed) -> Option<Error> {
        let (error, ran) = match failed {
            Failed::BeforeTheGuestRan(error) => (error, false),
            Failed::WhileTheGuestRan(error) => (error, true),
        };
        if ran {
            match self.guest() {
                Guest::Waits => {
                    return Some(error.context(
                        "QEMU holds the guest in 'postcopy-paused': what it has is kept, and it waits for the rest \
                         of its memory. Do not end this QEMU, and do not cancel, or the guest is lost",
                    ));
                }
                // One that we started ends when we are told to end.
                Guest::Runs if !(self.is_ours() && error.is::<Interrupted>()) => {
                    return Some(error.context("the guest runs, and lacks nothing"));
                }
                Guest::Runs | Guest::None => {}
            }
        }
        let is_qemus = is_qemus(&error);
        let desc = if is_qemus {
            self.wait_for_its_word()
        } else {
            None
        };
        let ended = self.end(if self.client().is_closed() { END } else { SHOW });
        if ended.is_some_and(|status| status.success()) && ran {
            return None;
        }
        if !is_qemus {
            return Some(error);
        }
        let became = match ended {
            Some(status) => format!("QEMU has ended ({status})"),
            None if self.client().is_closed() => "QEMU has ended".into(),
            None => "QEMU has given up".into(),
        };
        let words = self.words();
        Some(match (words.said().or(desc), words.elsewhere()) {
            (Some(said), _) => {
                anyhow!("QEMU does not take the machine: {said}. {became}; {FITS}")
            }
            (None, Some(place)) => {
                error.context(format!("{became}; it says why {place}, and {FITS}"))
            }
            (None, None) => error.context(format!("{became}, and has not said why")),
        })
    }

    /// Waits until QEMU has ended, or has said that it failed, and gives its words if it has.
    fn wait_for_its_word(&self) -> Option<String> {
        let deadline = Instant::now() + END;
        while Instant::now() < deadline && !self.client().is_closed() {
            match migration::glance(self.client()) {
                Ok(Some(status)) if status.name() == "failed" => {
                    // It may be about to end, and say more.
                    if self.ends_soon() {
                        return None;
                    }
                    return status.error_desc;
                }
                Err(_) => return None,
                _ => std::thread::sleep(LOOK),
            }
        }
        None
    }

    fn ends_soon(&self) -> bool {
        let deadline = Instant::now() + SHOW;
        while Instant::now() < deadline && !self.client().is_closed() {
            std::thread::sleep(LOOK);
        }
        self.client().is_closed()
    }

    /// Whether QEMU keeps a guest. One that could not load its machine ends, or says that it has failed.
    fn guest(&self) -> Guest {
        let deadline = Instant::now() + SHOW;
        let mut seen = Guest::None;
        while Instant::now() < deadline {
            match migration::glance(self.client()) {
                Ok(Some(status)) => match status.name() {
                    "postcopy-paused" => return Guest::Waits,
                    "failed" => return Guest::None,
                    "completed" => {
                        return match machine::run_state(self.client()).as_deref() {
                            Ok("running") => Guest::Runs,
                            _ => Guest::None,
                        };
                    }
                    name if name.starts_with("postcopy") => seen = Guest::Waits,
                    _ => seen = Guest::None,
                },
                // Its monitor stands still when a thread that it needs waits for memory, too.
                Ok(None) => seen = Guest::Waits,
                Err(_) => return Guest::None,
            }
            std::thread::sleep(LOOK);
        }
        seen
    }
}

/// Whether QEMU is the cause, as far as is seen from here, and not the store or a signal.
fn is_qemus(error: &Error) -> bool {
    let is = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<GaveUp>()
            || cause.is::<vmferry::error::Error>()
            || cause.is::<vmferry::postcopy::PostcopyError<StoreError>>()
            || matches!(cause.downcast_ref(), Some(qmp::Error::Closed))
    };
    error.chain().any(is) && !error.chain().any(|cause| cause.is::<StoreError>())
}
