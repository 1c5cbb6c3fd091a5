//! What is not just the next byte: offsets, and descriptors in stream order.

use std::io::{self, SeekFrom};
use std::os::fd::BorrowedFd;

use super::super::release::Releaser;
use super::super::{OnWouldBlock, Result};
use super::Writer;
use crate::channel::{SeekChannel, Segment, WriteChannel};

/// What is sent with a descriptor: a descriptor needs a byte to travel with.
pub(in super::super) const CARRIER: u8 = 0;

impl<C: WriteChannel, M: Releaser> Writer<'_, C, M> {
    /// Writes all of `bytes` at `offset` bytes from the channel's start, after everything that was
    /// put before. The stream goes on where it was; these bytes count as
    /// [external](Self::account_external).
    ///
    /// # Errors
    /// The first error of the stream, which a partial write is, too; or that the channel has no
    /// places.
    #[doc(alias = "qemu_put_buffer_at")]
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.send(Segment::default(), OnWouldBlock::Wait)?;
        let mut written = 0;
        while written < bytes.len() {
            let at = offset.saturating_add(written as u64);
            let segments = &[Segment::new(&bytes[written..])];
            match self.channel.write_segments_at(segments, at) {
                Ok(0) => return Err(self.channel_failed(io::ErrorKind::WriteZero.into())),
                Ok(more) => {
                    written += more;
                    self.external += more as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.not_ready(error, OnWouldBlock::Wait)?;
                }
                Err(error) => return Err(self.not_possible(error, "writing at an offset")),
            }
        }
        Ok(())
    }

    /// Puts a descriptor: the reader takes it between what was put before it and what comes after.
    /// It takes one byte of the stream.
    ///
    /// # Errors
    /// The first error of the stream; or that the channel passes no descriptors.
    #[doc(alias = "qemu_file_put_fd")]
    pub fn put_descriptor(&mut self, descriptor: BorrowedFd<'_>) -> Result<()> {
        // The descriptor comes with a byte of its own, so that it is clear where it belongs.
        self.send(Segment::default(), OnWouldBlock::Wait)?;
        while let Err(error) = self.channel.send_descriptor(CARRIER, descriptor) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(self.not_possible(error, "passing descriptors"));
            }
            self.not_ready(error, OnWouldBlock::Wait)?;
        }
        self.flushed += 1;
        Ok(())
    }
}

/// Sends what waits, and goes on at another place of the channel. The positions of the stream go on
/// counting its bytes.
impl<C: WriteChannel + SeekChannel, M: Releaser> io::Seek for Writer<'_, C, M> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.send(Segment::default(), OnWouldBlock::Wait)?;
        self.channel.seek(to)
    }
}
