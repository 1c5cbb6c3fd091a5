//! QEMU's migration as its monitor shows it: state, capabilities, parameters.

mod settings;
mod status;

pub use settings::{Changed, DOWNTIME_LIMIT, LONGEST_DOWNTIME, MAX_BANDWIDTH, Wanted};
pub use status::{Glance, Status, glance, query};
