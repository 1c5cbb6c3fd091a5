//! Every channel behaves as every other does, however it is interrupted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod conformance;
mod flaky;
mod own;
mod subjects;
