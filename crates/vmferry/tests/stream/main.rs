//! The byte stream, seen from outside.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too, may panic")]

mod conformance;
mod reader_model;
mod support;
mod traps;
mod writer_model;
