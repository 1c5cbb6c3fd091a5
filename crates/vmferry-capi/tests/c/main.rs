//! The functions for C: against the headers, by the original's own programs, and called one by one.
#![allow(unsafe_code, reason = "the functions are called as C calls them")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every call has a file that is open and memory that is there, which each test shows"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests, too, may panic")]

mod hooks;
mod life;
mod reading;
mod support;
mod writing;

// A compiler, and programs, which Miri does not run.
#[cfg(not(miri))]
mod compiled;
#[cfg(not(miri))]
mod interface;
#[cfg(not(miri))]
mod programs;
