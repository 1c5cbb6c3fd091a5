//! The guardian: a small process of its own that holds on to what a guest's life hangs on while it
//! is being saved.
//!
//! A guest whose background snapshot loses its reader stops for ever (QEMU 7.2), and one whose
//! reader stalls stops for as long (every version); one that was stopped in order to be saved has to
//! be started again. So the channel and the monitor connection of a save are held by two processes:
//! the *saver*, which reads and stores, and the guardian, which only watches. The two are connected
//! by a *lifeline*, a socket on which the saver gives a sign of life several times a second.
//!
//! A saver that can puts everything back itself, whether the save went well or not. When the lifeline
//! breaks (it was killed), or stays silent for too long (it hangs), the guardian takes over: it ends
//! the migration in the way that this QEMU survives, puts everything back as it was, and lets the guest
//! run.
//!
//! ```text
//! saver      ─── plan, channel, monitor ──►  guardian          before anything is changed
//!            ◄── ready ───
//!            ─── beat … beat ──►
//!            ─── done ──►                    ends                 all is well, and put back
//!            ─x─                             settles the guest    in every other case
//! ```
//!
//! For `migrate "exec:vmferry save …"` there is no monitor, and QEMU stops the guest until the
//! command has ended. There the process that QEMU started is the guardian, and the saver is its child.

mod ender;
mod lifeline;
pub mod note;
mod plan;
mod recover;
mod saver;
mod settle;
mod watch;

pub use ender::{Ender, drain};
pub use lifeline::{Heard, Lifeline, Message, spawn};
pub use plan::{Ending, Plan};
pub use recover::{RecoverError, Recovered, recover};
pub use saver::{BEAT, Saver};
pub use settle::{Resume, settle};
pub use watch::{Outcome, run_as_guardian, watch};

/// The hidden command that a guardian process runs.
pub const COMMAND: &str = "guardian";
