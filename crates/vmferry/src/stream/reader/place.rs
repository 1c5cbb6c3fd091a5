//! What is not just the next byte: offsets, and descriptors in stream order.

use std::io::{self, SeekFrom};
use std::os::fd::OwnedFd;

use super::super::{ErrorKind, Result, StreamError};
use super::Reader;
use crate::channel::{ReadChannel, SeekChannel, SegmentMut};

impl<C: ReadChannel> Reader<C> {
    /// Fills `out` from `offset` bytes behind the channel's start. The stream goes on where it was.
    ///
    /// # Errors
    /// The channel ends within it, or has failed, or has no places.
    #[doc(alias = "qemu_get_buffer_at")]
    pub fn read_at(&mut self, out: &mut [u8], offset: u64) -> Result<()> {
        self.usable()?;
        let (wanted, mut got) = (out.len(), 0);
        while got < wanted {
            let at = offset.saturating_add(got as u64);
            let segments = &mut [SegmentMut::new(&mut out[got..])];
            match self.channel.read_segments_at(segments, at) {
                Ok(0) => {
                    let kind = ErrorKind::UnexpectedEof { wanted, got };
                    return Err(self.fail(StreamError::new(kind, at)));
                }
                Ok(read) => got += read,
                Err(error) if self.waits_for(&error) => self.wait(None)?,
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    let kind = ErrorKind::Unsupported("reading at an offset");
                    return Err(StreamError::new(kind, self.position()));
                }
                Err(error) => return Err(self.channel_failed(error)),
            }
        }
        Ok(())
    }

    /// Takes the descriptor that comes next, with the byte that it came with.
    ///
    /// # Errors
    /// Something else comes next, or the stream ends or has failed; or the channel passes no
    /// descriptors, which does not harm the stream.
    #[doc(alias = "qemu_file_get_fd")]
    pub fn take_descriptor(&mut self) -> Result<OwnedFd> {
        if !self.channel.capabilities().descriptors {
            let kind = ErrorKind::Unsupported("passing descriptors");
            return Err(StreamError::new(kind, self.position()));
        }
        self.demand(1)?;
        let at = self.position();
        self.forget_descriptors();
        if self.descriptors.front().is_some_and(|(its, _)| *its == at) {
            if let Some((_, descriptor)) = self.descriptors.pop_front() {
                self.start += 1;
                return Ok(descriptor);
            }
        }
        Err(self.fail(StreamError::new(ErrorKind::NoDescriptor, at)))
    }

    /// Closes descriptors whose byte was taken without them.
    pub(super) fn forget_descriptors(&mut self) {
        let at = self.position();
        while self.descriptors.front().is_some_and(|(its, _)| *its < at) {
            self.descriptors.pop_front();
        }
    }
}

/// Goes on at another place of the channel, and forgets what was read ahead.
impl<C: ReadChannel + SeekChannel> io::Seek for Reader<C> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.usable()?;
        let to = match to {
            SeekFrom::Current(by) => {
                // The channel is ahead of the stream by what was read ahead.
                let ahead = i64::try_from(self.end - self.start).unwrap_or(i64::MAX);
                let by = by.checked_sub(ahead).ok_or(io::ErrorKind::InvalidInput)?;
                SeekFrom::Current(by)
            }
            other => other,
        };
        let place = self.channel.seek(to)?;
        (self.start, self.end, self.tail) = (0, 0, 0);
        self.base = place;
        self.at_end = false;
        Ok(place)
    }
}
