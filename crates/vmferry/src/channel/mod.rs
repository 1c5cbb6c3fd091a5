//! Where bytes come from and where they go.
//!
//! A channel moves bytes and knows nothing of what they mean. [`ReadChannel`] and [`WriteChannel`]
//! are separate: a channel that works in both directions is [split](Duplex::split) once, into two
//! halves that are owned by whoever reads and whoever writes; the descriptor closes with the last
//! half.
//!
//! | channel | is |
//! |---|---|
//! | [`Socket`] | a connected stream socket: unix, tcp |
//! | [`Fd`] | any descriptor that can be read or written: a pipe, an inherited one |
//! | [`File`] | a regular file |
//! | [`Memory`], [`Bytes`] | a vector to write to, a slice to read from |
//! | [`Null`] | takes everything, gives nothing |
//! | [`Std`] | anything that is `io::Read` or `io::Write` |

mod fd;
mod file;
mod memory;
mod socket;
mod std_io;

pub use fd::Fd;
pub use file::File;
pub use memory::{Bytes, Memory, Null};
pub use socket::{Socket, SocketReader, SocketWriter};
pub use std_io::Std;

use std::io;
use std::sync::Arc;

pub use crate::sys::{RamSlice, RamSliceMut, Segment, SegmentMut};

/// Takes bytes.
pub trait WriteChannel {
    /// Writes a prefix of `segments` and tells its length, which is not 0 unless they are empty.
    ///
    /// # Errors
    /// What the transport says; `WouldBlock` means that nothing was written and nothing is lost.
    /// Interruptions are retried inside.
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize>;

    /// Makes sure that what was written does not stay in a buffer of the channel.
    ///
    /// # Errors
    /// What the transport says.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What ends blocked calls from another thread, if the transport can do that.
    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        None
    }
}

/// Gives bytes.
pub trait ReadChannel {
    /// Reads into `segments` in their order, and tells how many bytes came: 0 only at the end.
    ///
    /// # Errors
    /// What the transport says; `WouldBlock` means that nothing has come yet. Interruptions are
    /// retried inside.
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize>;

    /// What ends blocked calls from another thread, if the transport can do that.
    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        None
    }
}

/// A channel in both directions.
pub trait Duplex {
    /// The half that is read.
    type Reader: ReadChannel;
    /// The half that is written.
    type Writer: WriteChannel;

    /// Takes it apart, once. The transport closes when both halves are gone.
    #[doc(alias = "qemu_file_get_return_path")]
    fn split(self) -> (Self::Reader, Self::Writer);
}

/// Ends blocked reads and writes of a channel, from any thread, without closing its descriptor.
pub trait Shutdown: Send + Sync {
    /// Shuts both directions down.
    ///
    /// # Errors
    /// What the transport says.
    fn shutdown(&self) -> io::Result<()>;
}
