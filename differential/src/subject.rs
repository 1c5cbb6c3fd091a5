//! What is compared: an implementation, seen through what a program does with it.

use crate::channel::{Event, World};
use crate::memory::Guest;
use crate::program::Op;

/// What can be seen of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What it answered; 0 where it answers nothing.
    pub(crate) answer: i64,
    /// The bytes that it gave.
    pub(crate) bytes: Vec<u8>,
}

impl Outcome {
    pub(crate) fn answer(answer: i64) -> Self {
        Self {
            answer,
            bytes: Vec::new(),
        }
    }
}

/// A stream over a channel, of one implementation or another.
pub(crate) trait Subject {
    /// Whether it has such an operation at all.
    fn has(&self, op: Op) -> bool;

    /// Does it, and tells what can be seen of that.
    fn run(&mut self, op: Op) -> Outcome;

    /// Closes the stream, and tells what it says to that.
    fn close(&mut self) -> Outcome;

    /// Its first error, as a negative number; 0: there was none.
    fn error(&self) -> i32;

    /// Bytes that were put, or taken.
    fn position(&self) -> i64;

    /// Bytes that went another way and are part of the position that its channel is told.
    fn external(&self) -> i64 {
        0
    }

    /// Its channel.
    fn world(&mut self) -> &mut World;

    /// The memory that it refers to.
    fn guest(&mut self) -> &mut Guest;

    /// What its channel and its hooks were asked for since the last time.
    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.world().events)
    }
}
