//! A machine at rest, as its stream carries it, without its pages: what is loaded, kept and saved.
//!
//! [`MachineState`] is everything of a machine but its RAM; with a [`PageSource`](crate::ram::PageSource) for
//! the RAM, it is a [`SavedState`]. Reading a stream ([`load`](crate::load)) and writing one
//! ([`save`](crate::save)) both build on this module, and know nothing of each other.

mod device;
mod rules;
mod saved;
mod state;

pub use crate::wire::configuration::Configuration;
pub use device::{DeviceSection, DeviceState, InvalidIdstr, Phase, Split};
pub use rules::{MeetingPoints, Rules, ZeroPages};
pub use saved::SavedState;
pub use state::MachineState;
