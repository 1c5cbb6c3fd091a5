//! Torture: saves that are killed, stopped, starved and cut off at random moments, and a guest that has to go on.
//!
//! | module | what it is |
//! |---|---|
//! | [`cell`] | what is done to which save: `7.2/stop/kill-both` |
//! | `moment` | when it is done |
//! | `family` | the processes of a save: saver and guardian |
//! | `cgroup` | a control group, whose processes are killed all at once |
//! | `blow` | doing it |
//! | `subject` | the guest, and the settings that it must have afterwards |
//! | `pulse` | whether it ticks, and for how long it did not |
//! | `rig` | guest, stores and disk, which serve many runs |
//! | `save` | the save that is disturbed |
//! | `trial` | one run, from the start of the save to the verdict |
//! | `aftermath` | what must be true when all is over: store, settings, the next save |
//! | `load` | other work on the machine |
//! | [`record`] | what is kept of each run |
//! | [`summary`] | what all of them say |
//! | [`campaign`] | all runs of some cells |

mod aftermath;
mod blow;
pub mod campaign;
pub mod cell;
mod cgroup;
mod family;
mod load;
mod moment;
mod pulse;
pub mod record;
mod rig;
mod save;
mod subject;
pub mod summary;
mod trial;

pub use campaign::{Campaign, Rules};
pub use cell::{Blow, Cell, How};
pub use record::{Record, Run};
