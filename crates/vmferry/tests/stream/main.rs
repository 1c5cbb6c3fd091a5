//! The byte stream, seen from outside.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too, may panic")]

mod abort;
mod conformance;
mod descriptors;
mod exec;
mod give_back;
mod limits;
mod places;
mod reader_model;
mod records;
mod support;
mod traps;
#[cfg(feature = "vm-memory")]
mod vm_memory;
mod writer_model;
mod zero_copy;
