//! QEMU's migration stream, in Rust: the byte stream, the format that QEMU sends through it, and
//! a lazy source that brings a saved machine back before its memory has arrived.
//!
//! | module | what it is |
//! |---|---|
//! | [`channel`] | where the bytes come from and go: files, sockets, descriptors, memory |
//! | [`stream`] | the buffered, vectored byte stream: [`stream::Reader`], [`stream::Writer`]; knows bytes, not QEMU |
//! | [`ram`] | RAM blocks, pages, the zero test, and [`ram::PageSource`], which pages are read from |
//! | [`wire`] | pure codecs of QEMU's format: no I/O, no `unsafe`, every length bounded |
//! | [`machine`] | a machine at rest without its pages: [`machine::MachineState`] |
//! | [`load`] | a stream is read in one pass and shown to a [`load::Visitor`] |
//! | [`save`] | a machine is written as a stream |
//! | [`postcopy`] | a machine runs elsewhere before its pages have arrived |
//! | [`progress`] | how far the sending of a machine is: [`progress::Progress`] |
//! | [`relay`] | a stream is written while another one is read |
//! | [`container`] | what a stream comes wrapped in: compression, libvirt's save images, qcow2 snapshots |
//! | [`index`] | any page of a saved state, in whatever container it is |
//! | [`error`] | what went wrong with a stream: [`error::Error`] |
//!
//! The layers depend on each other in one direction only. `wire` imports nothing but [`ram`];
//! `stream` and `channel` know nothing of `wire`; [`error`] joins the errors of both; `load` and `save` know `machine`, and
//! not each other.

pub mod channel;
pub mod container;
pub mod error;
pub mod index;
pub mod load;
pub mod machine;
pub mod postcopy;
pub mod progress;
pub mod ram;
pub mod relay;
pub mod save;
pub mod stream;
pub mod wire;

mod glue;
mod sys;
#[doc(hidden)]
pub mod work;
