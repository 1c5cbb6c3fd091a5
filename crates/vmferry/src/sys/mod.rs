//! The only place with `unsafe` code: what safe Rust cannot say to the kernel.
//!
//! Guest memory may change under our hands at any time, because the guest goes on running. So no
//! `&[u8]` to it may exist, and the vectored calls of `std` and `rustix`, which want slices, cannot
//! be used for it. Here it is an address and a length ([`RamSlice`]), which reach the kernel as an
//! iovec ([`Segment`]) or a copy.

#![allow(unsafe_code)]

mod io;
mod segment;

pub(crate) use io::{readv, send, writev};
pub use segment::{RamSlice, RamSliceMut, Segment, SegmentMut};
