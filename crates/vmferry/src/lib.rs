//! QEMU's migration stream, in Rust: the byte stream, the format that QEMU sends through it, and
//! a lazy source that brings a saved machine back before its memory has arrived.
//!
//! | module | what it is |
//! |---|---|
//! | [`stream`] | the buffered, vectored byte stream: [`stream::Reader`], [`stream::Writer`]; knows bytes, not QEMU |
//! | [`channel`] | where the bytes come from and go: files, sockets, descriptors, memory |
//! | [`wire`] | pure codecs of QEMU's format: no I/O, no `unsafe`, every length bounded |
//! | [`ram`] | RAM blocks, pages, the zero test |
//!
//! The layers depend on each other in one direction only: `wire` imports nothing but [`error`] and
//! [`ram`]; `stream` and `channel` know nothing of `wire`; the modules that tie them together stand
//! above both.

pub mod channel;
pub mod container;
pub mod error;
pub mod index;
pub mod load;
pub mod postcopy;
pub mod ram;
pub mod save;
pub mod stream;
pub mod wire;

mod glue;
mod sys;
#[doc(hidden)]
pub mod work;
