//! Sends without copying: the kernel reads the memory in its own time, and tells later when it has.
//!
//! What a batch was sent from must stay as it is until then: the pages, the buffer with the numbers
//! between them, whatever is shared or owned. So the whole queue steps aside and a fresh one takes
//! its place; when word comes, memory is given back and the queue is used again.

use std::collections::VecDeque;

use super::super::release::Releaser;
use super::super::{OnWouldBlock, Result};
use super::{Writer, WriterConfig, new_queue};
use crate::channel::{Interest, Segment, Ticket, WriteChannel};
use crate::sys::SendQueue;

/// How the sends without copying went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZeroCopyReport {
    /// Bytes that went out in such sends.
    pub bytes: u64,
    /// Such sends that the system copied all the same, as it does on the loopback interface: the
    /// work of sending without copying, and the copy on top.
    pub copied_anyway: u64,
    /// The stream has given it up, because everything was copied anyway.
    pub given_up: bool,
}

/// What a writer remembers of it.
#[derive(Debug)]
pub(super) struct ZeroCopy<'ram> {
    /// Bytes by reference from which on it is worth it; `None`: never.
    min: Option<usize>,
    /// The last ticket of the present queue, if any of it was sent this way.
    ticket: Option<Ticket>,
    in_flight: VecDeque<(Ticket, SendQueue<'ram>)>,
    idle: Vec<SendQueue<'ram>>,
    bytes: u64,
    sends: u64,
    given_up: bool,
}

impl<'ram> ZeroCopy<'ram> {
    pub(super) fn new<C: WriteChannel>(channel: &C, config: &WriterConfig) -> Self {
        Self {
            min: config
                .zero_copy_min
                .filter(|_| channel.capabilities().zero_copy),
            ticket: None,
            in_flight: VecDeque::new(),
            idle: Vec::new(),
            bytes: 0,
            sends: 0,
            given_up: false,
        }
    }

    #[inline]
    pub(super) fn is_worth_it(&self, queue: &SendQueue<'_>) -> bool {
        self.min.is_some_and(|min| queue.referenced() >= min)
    }

    pub(super) fn report<C: WriteChannel>(&self, channel: &C) -> ZeroCopyReport {
        ZeroCopyReport {
            bytes: self.bytes,
            copied_anyway: channel.copied_anyway(),
            given_up: self.given_up,
        }
    }
}

impl<C: WriteChannel, M: Releaser> Writer<'_, C, M> {
    /// Sends the queue without copying.
    #[cold]
    pub(super) fn send_later(&mut self, on_would_block: OnWouldBlock) -> Result<()> {
        self.look_for_completions()?;
        if self.zero_copy.min.is_none() || self.zero_copy.in_flight.len() >= MAX_IN_FLIGHT {
            // The ordinary way, which is also how the kernel says that it has enough to do.
            return Ok(());
        }
        while self.queue.pending() > 0 {
            let before = self.queue.pending();
            let (channel, mut ticket) = (&mut self.channel, None);
            let sent = self.queue.send(Segment::default(), |segments| {
                let (written, last) = channel.write_segments_later(segments)?;
                ticket = Some(last);
                Ok(written)
            });
            // Also where the channel took nothing: the ordinary way will say why.
            if ticket.is_some() {
                self.zero_copy.ticket = self.zero_copy.ticket.max(ticket);
                self.queue.is_read_by_kernel();
            }
            match sent {
                Ok(_) if self.queue.pending() == before => return Ok(()),
                Ok(_) => {
                    self.zero_copy.bytes += (before - self.queue.pending()) as u64;
                    self.zero_copy.sends += 1;
                    self.usable()?;
                }
                Err(error) => self.not_ready(error, on_would_block)?,
            }
        }
        self.queue_is_sent();
        Ok(())
    }

    /// Sets the queue aside until the kernel is through with it, if any of it was sent without
    /// copying; tells whether.
    pub(super) fn retire_queue(&mut self) -> bool {
        let Some(ticket) = self.zero_copy.ticket.take() else {
            return false;
        };
        let idle = self.zero_copy.idle.pop();
        let next = idle.unwrap_or_else(|| new_queue(&self.config));
        let queue = std::mem::replace(&mut self.queue, next);
        self.zero_copy.in_flight.push_back((ticket, queue));
        true
    }

    /// Takes up the queues that the kernel is through with.
    fn look_for_completions(&mut self) -> Result<()> {
        if self.zero_copy.in_flight.is_empty() {
            return Ok(());
        }
        let completed = match self.channel.completed() {
            Ok(completed) => completed,
            Err(error) => return Err(self.channel_failed(error)),
        };
        while let Some((ticket, _)) = self.zero_copy.in_flight.front() {
            if *ticket > completed {
                break;
            }
            if let Some((_, mut queue)) = self.zero_copy.in_flight.pop_front() {
                self.ledger.sent(queue.marked());
                queue.reset();
                self.zero_copy.idle.push(queue);
            }
        }
        let copied = self.channel.copied_anyway();
        if copied >= ENOUGH_TO_TELL && copied == completed.0.min(self.zero_copy.sends) {
            self.zero_copy.min = None;
            self.zero_copy.given_up = true;
        }
        Ok(())
    }

    /// Waits until the kernel is through with everything.
    pub(super) fn wait_for_completions(&mut self) -> Result<()> {
        loop {
            self.look_for_completions()?;
            if self.zero_copy.in_flight.is_empty() {
                return Ok(());
            }
            self.wait_for(Interest::Completion)?;
            self.usable()?;
        }
    }
}

/// Batches that the kernel may be busy with; the next one goes the ordinary way.
const MAX_IN_FLIGHT: usize = 8;

/// Sends after which it is clear that all of them are copied.
const ENOUGH_TO_TELL: u64 = 32;
