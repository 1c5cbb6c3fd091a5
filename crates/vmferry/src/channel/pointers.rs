//! A channel behind a pointer is the channel, with all that it can do.
//!
//! Every method is forwarded, also those with a default: a boxed socket can be shut down and passes descriptors. The
//! lint sees to it that a method that is added to a trait is added here.

use std::io::{self, SeekFrom};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Capabilities, Interest, ReadChannel, SeekChannel, Segment, SegmentMut, Shutdown, Ticket,
    WriteChannel,
};

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<T: WriteChannel + ?Sized> WriteChannel for $pointer {
            #[inline]
            fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
                (**self).write_segments(segments)
            }

            fn write_segments_at(
                &mut self,
                segments: &[Segment<'_>],
                offset: u64,
            ) -> io::Result<usize> {
                (**self).write_segments_at(segments, offset)
            }

            #[inline]
            fn write_segments_later(
                &mut self,
                segments: &[Segment<'_>],
            ) -> io::Result<(usize, Ticket)> {
                (**self).write_segments_later(segments)
            }

            fn completed(&mut self) -> io::Result<Ticket> {
                (**self).completed()
            }

            fn copied_anyway(&self) -> u64 {
                (**self).copied_anyway()
            }

            fn send_descriptor(&mut self, byte: u8, descriptor: BorrowedFd<'_>) -> io::Result<()> {
                (**self).send_descriptor(byte, descriptor)
            }

            fn flush(&mut self) -> io::Result<()> {
                (**self).flush()
            }

            fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<()> {
                (**self).wait(interest, timeout)
            }

            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
                (**self).shutdown_handle()
            }

            fn close(&mut self) -> io::Result<()> {
                (**self).close()
            }
        }

        #[deny(clippy::missing_trait_methods)]
        impl<T: ReadChannel + ?Sized> ReadChannel for $pointer {
            #[inline]
            fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
                (**self).read_segments(segments)
            }

            fn read_segments_at(
                &mut self,
                segments: &mut [SegmentMut<'_>],
                offset: u64,
            ) -> io::Result<usize> {
                (**self).read_segments_at(segments, offset)
            }

            fn read_with_descriptors(
                &mut self,
                room: &mut [u8],
                descriptors: &mut Vec<OwnedFd>,
            ) -> io::Result<usize> {
                (**self).read_with_descriptors(room, descriptors)
            }

            fn skip(&mut self, n: u64) -> io::Result<bool> {
                (**self).skip(n)
            }

            fn read_ahead(&self) -> usize {
                (**self).read_ahead()
            }

            fn expect_end(&mut self) {
                (**self).expect_end();
            }

            fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
                (**self).wait(timeout)
            }

            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
                (**self).shutdown_handle()
            }
        }

        impl<T: SeekChannel + ?Sized> SeekChannel for $pointer {
            fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
                (**self).seek(to)
            }
        }
    )*};
}

forward!(&mut T, Box<T>);
