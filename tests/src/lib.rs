//! The test lab: real QEMUs, guests that check themselves, and no process left behind.

pub mod cache;
pub mod debian;
mod qemu;

pub use qemu::{Qemu, Release};
