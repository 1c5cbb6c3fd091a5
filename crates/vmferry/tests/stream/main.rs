//! The byte stream, seen from outside.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too, may panic")]

mod abort;
#[cfg(feature = "tls")]
mod certificates;
mod conformance;
mod descriptors;
mod document;
mod exec;
mod give_back;
mod hooks;
mod limits;
mod places;
mod reader_model;
mod records;
mod sockets;
mod support;
#[cfg(feature = "tls")]
mod tls;
mod traps;
#[cfg(feature = "vm-memory")]
mod vm_memory;
mod writer_model;
mod zero_copy;
