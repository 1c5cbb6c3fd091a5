//! Where bytes come from and where they go.
//!
//! A channel moves bytes and knows nothing of what they mean. [`ReadChannel`] and [`WriteChannel`]
//! are separate: a channel that works in both directions is [split](Duplex::split) once, into two
//! halves that are owned by whoever reads and whoever writes; the descriptor closes with the last
//! half.
//!
//! | channel | is | can also |
//! |---|---|---|
//! | [`Socket`] | a connected stream socket: unix, tcp, vsock | shutdown, descriptors (unix), zero-copy (tcp) |
//! | [`Fd`] | any descriptor that can be read or written: a pipe, an inherited one | |
//! | [`File`] | a regular file or a block device, from an offset on | seek, positioned |
//! | [`Follow`] | a file that another process still writes to | shutdown |
//! | [`Exec`] | a child process; its failure is the channel's | |
//! | [`Memory`], [`Bytes`] | a vector to write to, a slice to read from | seek, positioned |
//! | [`Null`] | takes everything, gives nothing | |
//! | [`Std`] | anything that is `io::Read` or `io::Write` | |
#![cfg_attr(
    feature = "tls",
    doc = "| [`tls::Tls`] | TLS over a socket, with certificates on both sides | shutdown |"
)]
//!
//! A channel of one's own needs one method, [`WriteChannel::write_segments`] or
//! [`ReadChannel::read_segments`].

mod exec;
mod fd;
mod file;
mod follow;
mod memory;
mod null;
mod pointers;
mod poll;
mod socket;
mod std_io;
mod traits;

#[cfg(feature = "tls")]
pub mod tls;

pub use exec::{Exec, ExecReader, ExecWriter};
pub use fd::Fd;
pub use file::{File, seekable_len};
pub use follow::{Follow, FollowHandle, free_range};
pub use memory::{Bytes, Memory};
pub use null::Null;
pub use socket::{Socket, SocketReader, SocketWriter};
pub use std_io::Std;
pub use traits::{
    Blocking, Capabilities, Duplex, Interest, ReadChannel, SeekChannel, Shutdown, Ticket,
    WriteChannel,
};

pub use crate::sys::{RamMapping, RamSlice, RamSliceMut, Segment, SegmentMut};
