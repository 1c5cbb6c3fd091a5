//! The only place of this library with `unsafe` code: what safe Rust cannot say to the kernel.
//!
//! Guest memory may change under our hands at any time, because the guest goes on running. So no
//! `&[u8]` to it may exist, and the vectored calls of `std` and `rustix`, which want slices, cannot
//! be used for it. Here it is an address and a length ([`RamSlice`]), which reach the kernel as an
//! iovec ([`Segment`]) or a copy.
//!
//! | file | what safe Rust cannot do |
//! |---|---|
//! | `ram` | name memory that others change |
//! | `mapping` | memory that is mapped by itself |
//! | `segment` | an array of iovecs that the kernel takes unchanged |
//! | `queue` | iovecs that point into the queue's own buffer |
//! | `io` | vectored calls on them |
//! | `zero_copy` | sends that the kernel finishes later, and its word that it has |
//! | `release` | giving pages back to the system |
//! | `device` | how large a block device is |
//! | `vsock` | the address of a virtual socket |
//! | `vm_memory` | `vm-memory`'s slices as ours (feature `vm-memory`) |

#![allow(unsafe_code)]

mod device;
mod io;
mod mapping;
mod queue;
mod ram;
mod release;
mod segment;
mod vsock;
mod zero_copy;

#[cfg(feature = "vm-memory")]
mod vm_memory;

pub(crate) use device::block_device_len;
pub(crate) use io::{Waiting, preadv, pwritev, readv, recv, send, writev};
pub use mapping::RamMapping;
pub(crate) use queue::{Mark, SendQueue};
pub use ram::{RamSlice, RamSliceMut};
pub use release::SentPages;
pub use segment::{Segment, SegmentMut};
pub(crate) use vsock::connect as connect_vsock;
pub(crate) use zero_copy::{Completions, enable as enable_zero_copy, send as send_zero_copy};
