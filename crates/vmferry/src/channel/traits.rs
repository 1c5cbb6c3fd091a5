//! What every channel can do, and what some can.

use std::io::{self, SeekFrom};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::{Segment, SegmentMut};

/// Takes bytes.
///
/// Only [`write_segments`](Self::write_segments) has to be written; everything else says by itself
/// that it is not there.
#[doc(alias = "qemu_file_is_writable")]
pub trait WriteChannel {
    /// Writes a prefix of `segments` and tells its length, which is not 0 unless they are empty.
    ///
    /// # Errors
    /// What the transport says; `WouldBlock` means that nothing was written and nothing is lost.
    /// Interruptions are retried inside.
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize>;

    /// As [`write_segments`](Self::write_segments), but at `offset` bytes from the channel's start,
    /// without moving the place where the stream goes on.
    ///
    /// # Errors
    /// What the transport says; `Unsupported` where there are no places.
    fn write_segments_at(&mut self, segments: &[Segment<'_>], offset: u64) -> io::Result<usize> {
        let _ = (segments, offset);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As [`write_segments`](Self::write_segments), but the bytes may be read, from where they are,
    /// until [`completed`](Self::completed) reaches the ticket. What arrives is what they are then.
    ///
    /// # Errors
    /// What the transport says; `Unsupported` where it copies always.
    fn write_segments_later(&mut self, segments: &[Segment<'_>]) -> io::Result<(usize, Ticket)> {
        let _ = segments;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The tickets that are through, without waiting; everything before the answer is.
    ///
    /// # Errors
    /// What the transport says.
    fn completed(&mut self) -> io::Result<Ticket> {
        Ok(Ticket(u64::MAX))
    }

    /// How many of the sends by [`write_segments_later`](Self::write_segments_later) the system
    /// copied after all.
    fn copied_anyway(&self) -> u64 {
        0
    }

    /// Sends `byte`, and the descriptor with it.
    ///
    /// # Errors
    /// What the transport says; `Unsupported` where only bytes pass.
    fn send_descriptor(&mut self, byte: u8, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let _ = (byte, descriptor);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes sure that what was written does not stay in a buffer of the channel.
    ///
    /// # Errors
    /// What the transport says.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Waits until the channel may be ready; it may turn out not to be. Where a channel cannot
    /// tell, another thread gets its turn.
    ///
    /// # Errors
    /// `TimedOut`, or what the transport says.
    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<()> {
        let _ = (interest, timeout);
        std::thread::yield_now();
        Ok(())
    }

    /// What it can do beyond writing.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// What ends blocked calls from another thread, if the transport can do that.
    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        None
    }

    /// Ends the channel in this direction, and tells whether everything was well up to its end. Nothing can be
    /// written after that.
    ///
    /// # Errors
    /// What the transport says; of a child process, that it has failed.
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives bytes.
///
/// Only [`read_segments`](Self::read_segments) has to be written; everything else says by itself
/// that it is not there.
pub trait ReadChannel {
    /// Reads into `segments` in their order, and tells how many bytes came: 0 only at the end.
    ///
    /// # Errors
    /// What the transport says; `WouldBlock` means that nothing has come yet. Interruptions are
    /// retried inside.
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize>;

    /// As [`read_segments`](Self::read_segments), but from `offset` bytes behind the channel's
    /// start, without moving the place where the stream goes on.
    ///
    /// # Errors
    /// What the transport says; `Unsupported` where there are no places.
    fn read_segments_at(
        &mut self,
        segments: &mut [SegmentMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        let _ = (segments, offset);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads into `room`, and appends the descriptors that came. A descriptor belongs to the last
    /// byte that was read, which is the one that it was sent with if that was sent alone.
    ///
    /// # Errors
    /// What the transport says; `Unsupported` where only bytes pass.
    fn read_with_descriptors(
        &mut self,
        room: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        let _ = (room, descriptors);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Goes over the next `n` bytes without reading them, and tells whether it has: if it cannot, or
    /// does not know that so many are there, it stays where it is.
    ///
    /// # Errors
    /// What the transport says.
    fn skip(&mut self, n: u64) -> io::Result<bool> {
        let _ = n;
        Ok(false)
    }

    /// How many bytes it is worth to ask for at once, when they are read ahead.
    fn read_ahead(&self) -> usize {
        256 << 10
    }

    /// The format of what was read says that it ends here, so the end of the transport may come.
    /// A transport whose end can be forged believes it only now.
    fn expect_end(&mut self) {}

    /// Waits until the channel may be ready; it may turn out not to be. Where a channel cannot
    /// tell, another thread gets its turn.
    ///
    /// # Errors
    /// `TimedOut`, or what the transport says.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let _ = timeout;
        std::thread::yield_now();
        Ok(())
    }

    /// What it can do beyond reading.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// What ends blocked calls from another thread, if the transport can do that.
    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        None
    }
}

/// Has places: the stream can go on elsewhere.
pub trait SeekChannel {
    /// Goes on at another place, and tells where that is, from the channel's start.
    ///
    /// # Errors
    /// What the transport says.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64>;
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

/// What a channel can do beyond reading and writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// It is a [`SeekChannel`], and has places to seek to.
    pub seek: bool,
    /// Reads or writes at an offset.
    pub positioned: bool,
    /// Ends blocked calls from another thread.
    pub shutdown: bool,
    /// Passes descriptors.
    pub descriptors: bool,
    /// Sends without copying.
    pub zero_copy: bool,
}

/// What a writer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Room for more bytes.
    Write,
    /// Word that bytes which were sent without copying are through.
    Completion,
}

/// The number of a send that reads its bytes later; they count up from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Whether a half of a channel waits, independently of the other half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "qemu_file_set_blocking")]
pub enum Blocking {
    /// As its descriptor is set, which is to wait unless somebody has set it otherwise.
    AsDescriptor,
    /// Never: a call comes back with `WouldBlock`.
    Never,
}
