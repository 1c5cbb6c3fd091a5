//! QEMU's migration format as pure codecs: no I/O, no clock, no `unsafe`.
//!
//! Everything is big-endian. A decoder reads from a [`Source`] and can neither look at bytes that
//! it did not ask for nor reserve memory for a length that came from outside: every such length
//! meets a limit of [`limits`] first. An encoder appends to a [`Sink`].

pub mod limits;
