//! What can be learned of a running machine: from its monitor, and from its process.

mod block;
mod command_line;
mod descriptors;
mod facts;
mod incoming;
mod jobs;
mod last_words;
mod memory;
mod process;
mod ram;

pub use block::{block_devices, is_writable};
pub use command_line::{Recorded, shell_words};
pub use facts::{endianness, learn, machine_type, run_state};
pub use incoming::{disk_in_the_way, holds_back, take_disks, was_started_paused, writable_disks};
pub use jobs::block_jobs;
pub use last_words::LastWords;
pub use memory::{FileKind, FileMemory, file_memory};
#[cfg(feature = "faults")]
pub use process::children;
pub use process::{Process, ProcessId, qemu_above};
pub use ram::RamListing;
