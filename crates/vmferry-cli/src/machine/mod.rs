//! What can be learned of a running machine: from its monitor, and from its process.

mod block;
mod command_line;
mod facts;
mod process;
mod ram;

pub use block::{block_devices, is_writable};
pub use command_line::{Recorded, shell_words};
pub use facts::{endianness, learn, machine_type, run_state};
#[cfg(feature = "faults")]
pub use process::children;
pub use process::{Process, ProcessId, qemu_above};
pub use ram::RamListing;
