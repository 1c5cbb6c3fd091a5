//! What is read.

use super::{Against, BUFFER, Mended, text_of_nothing};
use crate::program::Op;
use crate::rules::Rule;
use crate::subject::{Outcome, Subject as _};

impl Mended<'_> {
    pub(super) fn get(&mut self, op: Op) -> Outcome {
        if self.has_failed() && self.rules.has(Rule::NothingReadAfterAnError) {
            if !matches!(op, Op::Tell | Op::Skip(_)) {
                self.uses.add(Rule::NothingReadAfterAnError, 1);
            }
            return match op {
                Op::Counted => text_of_nothing(),
                Op::Tell => self.tell(),
                _ => Outcome::default(),
            };
        }
        match op {
            Op::Be16 => self.number(op, 2),
            Op::Be32 => self.number(op, 4),
            Op::Be64 => self.number(op, 8),
            Op::Buffer(len) => self.bytes(op, len as usize),
            Op::InPlace(len) => {
                let is_there = self.available() >= len as usize;
                let outcome = self.bytes(op, len as usize);
                let is_whole = is_there || self.against != Against::Rust;
                if !is_whole && outcome.answer > 0 && self.rule(Rule::InPlaceWhole) {
                    return Outcome::default();
                }
                outcome
            }
            Op::Peek(len, offset) => self.peek(len as usize, offset as usize),
            Op::PeekByte(offset) => self.peek_byte(offset),
            Op::Skip(len) => self.skip(len),
            Op::Counted => self.counted(),
            Op::Tell => self.tell(),
            _ => self.raw(op),
        }
    }

    fn number(&mut self, op: Op, len: usize) -> Outcome {
        let is_whole = self.available() >= len;
        let outcome = self.raw(op);
        if !is_whole && outcome.answer != 0 && self.rule(Rule::NumberWhole) {
            return Outcome::default();
        }
        outcome
    }

    /// The bytes of a get that comes short: the original takes them from the wrong place once they have moved.
    fn bytes(&mut self, op: Op, len: usize) -> Outcome {
        let there = self.available();
        let is_once = there == 0 && matches!(op, Op::Buffer(_));
        if there >= len || is_once || !self.rule(Rule::ShortRead) {
            return self.raw(op);
        }
        let mut outcome = self.raw(Op::Buffer(low(there)));
        let (_, is_end) = self.machine.world().reach();
        // The error.
        self.raw(Op::Buffer(low(len - there)));
        if self.against == Against::Rust && !is_end && self.rule(Rule::FailedRead) {
            return Outcome::default();
        }
        outcome.answer = outcome.bytes.len() as i64;
        outcome
    }

    fn peek(&mut self, len: usize, offset: usize) -> Outcome {
        if offset >= BUFFER || len > BUFFER - offset {
            self.uses.add(Rule::PeekTooFar, 1);
            if len == 0 {
                return Outcome::default();
            }
            if self.is_aborted && self.against == Against::C && self.buffered() > offset {
                // What is there, as with any error of the stream.
                let there = low(self.buffered() - offset);
                let outcome = self.raw(Op::Peek(there.min(low(len)), low(offset)));
                self.set_error(libc::ECANCELED);
                return outcome;
            }
            return self.refused(true);
        }
        let (there, whole) = (self.available(), Op::Peek(low(len + offset), 0));
        if len == 0 {
            return Outcome::default();
        }
        if there >= len + offset {
            // The original takes a gap for very many bytes, so it does not read.
            if offset > self.buffered() && self.rule(Rule::PeekOverAGap) {
                self.raw(whole);
            }
            return self.raw(Op::Peek(low(len), low(offset)));
        }
        if self.against == Against::Rust {
            if self.rule(Rule::PeekWhole) {
                self.raw(whole);
                return Outcome::default();
            }
        } else if self.rules.has(Rule::ShortRead) {
            self.uses.add(Rule::ShortRead, 1);
            // All that is there is in the buffer then, and with it the error.
            self.raw(Op::Peek(low(there), 0));
            let outcome = match there > offset {
                true => self.raw(Op::Peek(low(there - offset), low(offset))),
                false => Outcome::default(),
            };
            self.raw(whole);
            return outcome;
        }
        self.raw(Op::Peek(low(len), low(offset)))
    }

    fn peek_byte(&mut self, offset: i32) -> Outcome {
        let Some(at) = usize::try_from(offset).ok().filter(|at| *at < BUFFER) else {
            self.uses.add(Rule::PeekByteTooFar, 1);
            // A negative number is none of Rust's, and the greatest one there.
            return self.refused(offset >= 0 || self.against == Against::Rust);
        };
        let first = self.raw(Op::PeekByte(offset));
        if at < self.buffered() || self.has_failed() || !self.rules.has(Rule::PeekByteReads) {
            return first;
        }
        self.raw(Op::Peek(low(at + 1), 0));
        if at >= self.buffered() {
            return Outcome::default();
        }
        self.uses.add(Rule::PeekByteReads, 1);
        self.raw(Op::PeekByte(offset))
    }

    /// What is asked for cannot be: in C the stream has failed then. Where the stream looks whether it can be, it sees
    /// that it was aborted.
    fn refused(&mut self, looks: bool) -> Outcome {
        if looks && self.is_aborted {
            self.set_error(libc::ECANCELED);
        } else if self.against == Against::C {
            self.set_error(libc::EINVAL);
        }
        Outcome::default()
    }

    fn skip(&mut self, len: i32) -> Outcome {
        let Ok(skipped) = usize::try_from(len) else {
            self.uses.add(Rule::SkipBackwards, 1);
            return self.refused(false);
        };
        if skipped > self.buffered() && self.rule(Rule::SkipReads) {
            self.raw(Op::Buffer(low(skipped)));
            return Outcome::default();
        }
        self.raw(Op::Skip(len))
    }

    fn counted(&mut self) -> Outcome {
        let there = self.available();
        let is_whole = there > 0 && {
            let len = usize::try_from(self.raw(Op::PeekByte(0)).answer).unwrap_or(0);
            there > len
        };
        let outcome = self.raw(Op::Counted);
        if !is_whole && self.rules.has(Rule::StringWhole) {
            if outcome != text_of_nothing() {
                self.uses.add(Rule::StringWhole, 1);
            }
            return text_of_nothing();
        }
        outcome
    }

    fn tell(&mut self) -> Outcome {
        if self.rule(Rule::TellOfAReader) {
            return Outcome::answer(self.position());
        }
        self.raw(Op::Tell)
    }
}

fn low(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
