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
//! | [`Libvirt`] | a libvirt of its own, for domains like these guests |
//! | [`Linux`] | the guest with a real kernel, a file system in memory, and work to do |
//! | [`Recorder`] | what passes between two QEMUs, on every channel and both ways |
//! | [`Browser`] | a browser without a window |
//! | [`CoreFile`], [`gdb`], [`makedumpfile`], [`Volatility`] | what others make of a machine's memory |
//! | [`captures`] | the golden streams, and how they are made |
//! | [`torture`] | saves that are disturbed in every way, and a guest that has to go on |
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

mod block_device;
mod browser;
pub mod cache;
pub mod captures;
pub mod channels;
mod console;
pub mod core_file;
mod cpio;
pub mod debian;
mod disk;
pub mod gdb;
mod guest;
mod hugepages;
pub mod libvirt;
pub mod linux;
pub mod makedumpfile;
pub mod pattern;
pub mod process;
mod qemu;
mod recorder;
mod root;
mod spec;
pub mod surgery;
pub mod torture;
pub mod vmferry;
mod volatility;
mod wait;

pub use block_device::BlockDevice;
pub use browser::Browser;
pub use console::{Console, Line, Listener};
pub use core_file::CoreFile;
pub use disk::Disk;
pub use guest::{Guest, PATIENCE, leftovers};
pub use hugepages::Hugepages;
pub use libvirt::{Libvirt, LibvirtRelease};
pub use linux::Linux;
pub use pattern::{Pattern, Report};
pub use process::Process;
pub use qemu::{Qemu, Release, Target};
pub use recorder::{Recorded, Recorder};
pub use spec::{Accel, Backend, Program, Spec};
pub use vmferry::Vmferry;
pub use volatility::Volatility;
