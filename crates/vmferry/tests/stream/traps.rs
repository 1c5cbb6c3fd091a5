//! What the C original does wrong or leaves to luck, each with what is expected instead.
//!
//! Every test is one of the defects that were seen by probing it, or one of the behaviours that a
//! reimplementation most easily gets wrong. `docs/stream.md` tells which test belongs to which
//! function.

mod compression;
mod control;
mod reading;
mod release;
mod writing;
