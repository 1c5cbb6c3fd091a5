//! How what waits reaches the channel.

use std::io;

use super::super::release::Releaser;
use super::super::{ErrorKind, OnWouldBlock, Result, StreamError};
use super::Writer;
use crate::channel::{Interest, Segment, WriteChannel};

impl<C: WriteChannel, M: Releaser> Writer<'_, C, M> {
    /// Sends everything that was put: the channel has taken it when this comes back.
    ///
    /// # Errors
    /// The first error of the stream; or that the channel is not ready, and then nothing is lost:
    /// flush again later.
    #[doc(alias = "qemu_fflush")]
    pub fn flush(&mut self) -> Result<()> {
        self.flush_as(self.config.on_would_block)
    }

    /// As [`flush`](Self::flush), but waits for a channel that is not ready.
    pub(crate) fn flush_waiting(&mut self) -> Result<()> {
        self.flush_as(OnWouldBlock::Wait)
    }

    fn flush_as(&mut self, on_would_block: OnWouldBlock) -> Result<()> {
        self.send(Segment::default(), on_would_block)?;
        while let Err(error) = self.channel.flush() {
            self.not_ready(error, on_would_block)?;
        }
        Ok(())
    }

    /// Sends everything that was put, and waits until the channel is through with the memory that
    /// it was sent from without copying.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.wait_for_completions()
    }

    /// [`sync`](Self::sync), waiting wherever it has to.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.flush_as(OnWouldBlock::Wait)?;
        self.wait_for_completions()
    }

    /// Sends what waits, and then `more`. Nothing waits any more then, unless the channel was not
    /// ready and the caller did not want to wait, which is for callers without `more`.
    pub(super) fn send(
        &mut self,
        mut more: Segment<'_>,
        on_would_block: OnWouldBlock,
    ) -> Result<()> {
        self.usable()?;
        let sent = self.send_all(&mut more, on_would_block);
        if let Some(failure) = &mut self.failure {
            // It was put, too.
            failure.queued += more.len() as u64;
        }
        sent
    }

    fn send_all(&mut self, more: &mut Segment<'_>, on_would_block: OnWouldBlock) -> Result<()> {
        if self.zero_copy.is_worth_it(&self.queue) {
            self.send_later(on_would_block)?;
        }
        loop {
            let before = self.queue.pending() + more.len();
            if before == 0 {
                break;
            }
            let channel = &mut self.channel;
            let sent = self
                .queue
                .send(*more, |segments| channel.write_segments(segments));
            match sent {
                Ok(of_more) => {
                    self.flushed += of_more as u64;
                    *more = more.skip(of_more);
                    let took_nothing = self.queue.pending() + more.len() == before;
                    if took_nothing {
                        return Err(self.channel_failed(io::ErrorKind::WriteZero.into()));
                    }
                    if self.queue.pending() == 0 {
                        self.queue_is_sent();
                    }
                    self.usable()?;
                }
                Err(error) => self.not_ready(error, on_would_block)?,
            }
        }
        Ok(())
    }

    /// The channel has taken the whole queue.
    pub(super) fn queue_is_sent(&mut self) {
        self.flushed += self.queue.queued() as u64;
        if self.retire_queue() {
            return;
        }
        if self.queue.has_marked() {
            self.ledger.sent(self.queue.marked());
        }
        self.queue.reset();
    }

    /// Waits for the channel, if `error` says that it is not ready and that is what to do.
    pub(super) fn not_ready(
        &mut self,
        error: io::Error,
        on_would_block: OnWouldBlock,
    ) -> Result<()> {
        if error.kind() != io::ErrorKind::WouldBlock || on_would_block == OnWouldBlock::Return {
            return Err(self.channel_failed(error));
        }
        self.wait_for(Interest::Write)?;
        self.usable()
    }

    pub(super) fn wait_for(&mut self, interest: Interest) -> Result<()> {
        let waited = self.channel.wait(interest, None);
        // Sticky whatever it is: those who have to wait have nowhere to put what they were given.
        waited.map_err(|error| self.fail_at_channel(error))
    }

    /// What an error of the channel means for the stream: its end, unless the channel was not ready.
    #[cold]
    pub(super) fn channel_failed(&mut self, error: io::Error) -> StreamError {
        if error.kind() == io::ErrorKind::WouldBlock {
            return StreamError::new(ErrorKind::WouldBlock, self.flushed_position());
        }
        self.fail_at_channel(error)
    }

    #[cold]
    fn fail_at_channel(&mut self, error: io::Error) -> StreamError {
        let at = self.flushed_position();
        let reason = self.abort.reason(at);
        self.fail(reason.unwrap_or_else(|| StreamError::from_io(error, at)))
    }

    /// What an error of something that not every channel can do means: nothing for the stream, if
    /// this one cannot.
    #[cold]
    pub(super) fn not_possible(&mut self, error: io::Error, what: &'static str) -> StreamError {
        if error.kind() == io::ErrorKind::Unsupported {
            return StreamError::new(ErrorKind::Unsupported(what), self.flushed_position());
        }
        self.channel_failed(error)
    }
}
