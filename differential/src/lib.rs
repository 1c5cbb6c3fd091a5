//! The stream of vmferry held against the C original, program by program.
//!
//! A program is data ([`Program`]): a channel that behaves in a certain way, and what is done with a stream over it. Both
//! implementations do it, and after each operation everything that can be seen is compared: results, bytes, positions,
//! the first error, what the channel was asked for, which memory was given back. Where the two differ on purpose, a rule
//! ([`Rule`]) says how, and names the row of `docs/stream.md`.
//!
//! | file | what |
//! |---|---|
//! | `program`, `generate`, `shrink` | programs as data and text; from bytes; as short as they can be |
//! | `api`, `ffi` | the functions of the original's header, as tables |
//! | `channel`, `memory`, `codec` | what both are given: a channel, bytes, zlib |
//! | `machine`, `native` | an implementation in C, or with its interface; the one in Rust |
//! | `rules`, `mended` | the differences on purpose; the original with them |
//! | `run` | a program on both |

#![allow(
    unsafe_code,
    reason = "the original is in C, and so is the interface that is held against it"
)]

mod api;
mod channel;
mod codec;
mod ffi;
mod generate;
mod machine;
mod memory;
mod mended;
mod native;
mod program;
mod rules;
mod run;
mod shrink;
mod subject;

pub use api::{Api, CHANGED, ORIGINAL, OURS};
pub use program::Program;
pub use rules::{Rule, Rules, Uses};
pub use run::{Candidate, Difference, Runner};
pub use shrink::shrink;
