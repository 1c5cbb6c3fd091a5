//! The byte stream, seen from outside.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on has failed; and there is nobody outside"
)]

mod reader_model;
mod support;
mod traps;
mod writer_model;
