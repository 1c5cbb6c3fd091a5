//! QEMU's migration as its monitor shows it: state, capabilities, parameters.

mod settings;
mod status;

pub use settings::{Changed, Wanted};
pub use status::{Status, query};
