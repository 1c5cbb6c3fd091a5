//! The test lab: real QEMUs, guests that check themselves, and no process left behind.
//!
//! | module | what it is |
//! |---|---|
//! | [`Qemu`] | QEMU 7.2 and 10.0, side by side in a cache |
//! | [`Spec`] | what a guest is made of; [`Spec::start`] gives a [`Guest`] |
//! | [`Guest`] | a running guest: its monitor, what it says, its end |
//! | [`Console`] | lines that a guest says, each with the time at which it came |
//! | [`Pattern`] | the guest that checks every word of its memory, its registers, timers and disk |
//! | [`Vmferry`] | the program under test |
//! | [`Disk`] | a disk that fills up, or hangs |
//! | [`Linux`] | the guest with a real kernel, a file system in memory, and work to do |
//! | [`Process`] | a process that ends when we do, however we end |
//!
//! A story needs no more than this:
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use vmferry_tests::{Release, Spec};
//!
//! let guest = Spec::pattern(Release::V10_0, "q35").start()?;
//! guest.wait_for_passes(3)?;
//! # Ok(())
//! # }
//! ```

pub mod cache;
mod console;
mod cpio;
pub mod debian;
mod disk;
mod guest;
mod hugepages;
pub mod linux;
pub mod pattern;
pub mod process;
mod qemu;
mod root;
mod spec;
pub mod surgery;
pub mod vmferry;
mod wait;

pub use console::{Console, Line, Listener};
pub use disk::Disk;
pub use guest::{Guest, PATIENCE, leftovers};
pub use hugepages::Hugepages;
pub use linux::Linux;
pub use pattern::{Pattern, Report};
pub use process::Process;
pub use qemu::{Qemu, Release};
pub use spec::{Accel, Backend, Program, Spec};
pub use vmferry::Vmferry;
