//! A channel in front of another that takes and gives less than it could, is not ready, or fails.

use std::io;
use std::time::Duration;

use vmferry::channel::{Interest, ReadChannel, Segment, SegmentMut, WriteChannel};

/// The error that a fault makes.
pub(crate) const EIO: i32 = 5;

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// At most so many bytes pass in one call.
    Short(usize),
    /// Every other call says that the channel is not ready; the others pass so many bytes.
    NotReady(usize),
    /// The call with this number fails; those before it pass 1000 bytes at most.
    FailsAt(usize),
}

/// A channel with a fault.
#[derive(Debug)]
pub(crate) struct Flaky<C> {
    inner: C,
    fault: Fault,
    calls: usize,
}

impl<C> Flaky<C> {
    pub(crate) fn new(inner: C, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            calls: 0,
        }
    }

    fn limit(&mut self) -> io::Result<usize> {
        self.calls += 1;
        match self.fault {
            Fault::Short(limit) => Ok(limit),
            Fault::NotReady(_) if self.calls % 2 == 1 => Err(io::ErrorKind::WouldBlock.into()),
            Fault::NotReady(limit) => Ok(limit),
            Fault::FailsAt(call) if self.calls == call => Err(io::Error::from_raw_os_error(EIO)),
            Fault::FailsAt(_) => Ok(1000),
        }
    }
}

impl<C: WriteChannel> WriteChannel for Flaky<C> {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        let limit = self.limit()?;
        let mut bytes = Vec::new();
        for segment in segments {
            segment.append_to(&mut bytes);
        }
        bytes.truncate(limit);
        self.inner.write_segments(&[Segment::new(&bytes)])
    }

    fn wait(&mut self, _: Interest, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn close(self) -> io::Result<()> {
        self.inner.close()
    }
}

impl<C: ReadChannel> ReadChannel for Flaky<C> {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let limit = self.limit()?;
        let room = segments.iter().map(SegmentMut::len).sum::<usize>();
        let mut bytes = vec![0; limit.min(room)];
        let read = self
            .inner
            .read_segments(&mut [SegmentMut::new(&mut bytes)])?;
        let mut rest = &bytes[..read];
        for segment in segments {
            let copied = segment.copy_from(rest);
            rest = &rest[copied..];
        }
        Ok(read)
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}
