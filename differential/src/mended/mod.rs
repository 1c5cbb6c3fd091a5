//! The original, mended by the rules: at each operation it does what `docs/stream.md` says that it would have to.

mod read;
mod write;

use crate::channel::{Spared, World};
use crate::ffi::Inside;
use crate::machine::Machine;
use crate::memory;
use crate::program::{Hooks, Op, Put};
use crate::rules::{Rule, Rules, Uses};
use crate::subject::{Outcome, Subject};

/// Bytes of the original's buffer.
const BUFFER: usize = 32 << 10;

/// Which interface the original is held against. They differ where a caller in C has no way to see what a Rust caller
/// learns from a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// The functions of the original's header.
    C,
    /// `vmferry::stream`
    Rust,
    /// The original itself, or a copy of it.
    Original,
}

/// The original, mended.
pub(crate) struct Mended<'g> {
    machine: Machine<'g>,
    against: Against,
    is_source: bool,
    hooks: Option<Hooks>,
    limit: i64,
    /// Bytes put since the limit was reset, as the original counts them.
    counted: i64,
    /// And those that it does not count, by why.
    records: i64,
    external_since: i64,
    /// Bytes that went another way.
    external: i64,
    is_aborted: bool,
    /// The stream without a channel has failed.
    staging_failed: bool,
    /// Bytes put there since the last transfer, and before it.
    staged: i64,
    rules: Rules,
    pub(crate) uses: Uses,
}

impl<'g> Mended<'g> {
    pub(crate) fn new(
        mut machine: Machine<'g>,
        is_source: bool,
        rules: Rules,
        against: Against,
    ) -> Self {
        machine.world().spared = Spared {
            cuts: rules.has(Rule::PartialWrite),
            again: rules.has(if is_source {
                Rule::ReadNotReady
            } else {
                Rule::WriteNotReady
            }),
            // Callbacks of C have to try again by themselves; a channel of Rust does.
            interrupted: against == Against::Rust
                && rules.has(if is_source {
                    Rule::ReadInterrupted
                } else {
                    Rule::WriteInterrupted
                }),
            claims: true,
            writes: false,
        };
        Self {
            machine,
            against,
            is_source,
            hooks: None,
            limit: 0,
            counted: 0,
            records: 0,
            external_since: 0,
            external: 0,
            is_aborted: false,
            staging_failed: false,
            staged: 0,
            rules,
            uses: Uses::default(),
        }
    }

    /// Whether this rule holds; it is used then.
    fn rule(&mut self, rule: Rule) -> bool {
        let holds = self.rules.has(rule);
        if holds {
            self.uses.add(rule, 1);
        }
        holds
    }

    fn inside(&self) -> Inside {
        self.machine.inside().unwrap_or_default()
    }

    /// Bytes that were read and not taken.
    fn buffered(&self) -> usize {
        let inside = self.inside();
        usize::try_from(inside.size - inside.index).unwrap_or(0)
    }

    /// How many bytes can be got without an error.
    fn available(&mut self) -> usize {
        self.buffered() + self.machine.world().reach().0
    }

    fn has_failed(&self) -> bool {
        self.machine.error() != 0
    }

    fn raw(&mut self, op: Op) -> Outcome {
        self.machine.run(op)
    }

    fn set_error(&mut self, number: i32) {
        self.machine.run(Op::SetError(-number));
    }

    /// Bytes that an operation puts into the stream.
    pub(crate) fn size(&self, op: Op, outcome: &Outcome) -> i64 {
        let signed = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
        let put_by = |hook: Option<crate::program::Hook>| hook.map_or(0, |hook| hook.bytes.into());
        match op {
            Op::Put(Put::Byte(_)) => 1,
            Op::Put(Put::Be16(_)) => 2,
            Op::Put(Put::Be32(_)) => 4,
            Op::Put(Put::Be64(_)) => 8,
            Op::Put(Put::Buffer(from, len)) => signed(memory::pool(from, len).len()),
            // Where it fails, how long the record would have been is not told.
            Op::Put(Put::Compressed(from, len, _)) if outcome.answer < 0 => {
                signed(write::most(memory::pool(from, len)))
            }
            Op::Put(Put::Compressed(..)) => outcome.answer,
            Op::Transfer => self.staged,
            Op::Async(at, len, _) | Op::Late(at, len) => signed(self.machine.guest_len(at, len)),
            Op::Before(_) => put_by(self.hooks.and_then(|hooks| hooks.before)),
            Op::After(_) => put_by(self.hooks.and_then(|hooks| hooks.after)),
            _ => 0,
        }
    }

    fn load(&mut self, flags: u64) -> Outcome {
        let hook = self.hooks.and_then(|hooks| hooks.load);
        if self.has_failed() && hook.is_some() && self.rule(Rule::LoadHookAfterAnError) {
            return Outcome::default();
        }
        self.raw(Op::Load(flags))
    }

    fn is_limited(&mut self) -> Outcome {
        let outcome = self.raw(Op::IsLimited);
        if self.limit <= 0 || outcome.answer != 0 {
            return outcome;
        }
        let is_over = |counted: i64| counted > self.limit;
        let (put, records) = (self.counted, self.records);
        if !is_over(put) && is_over(put + records) && self.rule(Rule::RecordCounts) {
            return Outcome::answer(1);
        }
        let all = self.counted + self.records + self.external_since;
        if all > self.limit
            && self.counted + self.records <= self.limit
            && self.rule(Rule::ExternalCounts)
        {
            return Outcome::answer(1);
        }
        outcome
    }

    fn control(&mut self, op: Op) -> Outcome {
        match op {
            Op::SetError(number) if number > 0 && self.rule(Rule::PositiveError) => {
                Outcome::default()
            }
            Op::IsLimited => self.is_limited(),
            Op::Limit => {
                let outcome = self.raw(op);
                if outcome.answer < 0 && self.rule(Rule::NoLimit) {
                    return Outcome::answer(0);
                }
                outcome
            }
            Op::SetLimit(limit) => {
                self.limit = limit;
                self.raw(op)
            }
            Op::ResetLimit => {
                (self.counted, self.records, self.external_since) = (0, 0, 0);
                self.raw(op)
            }
            Op::SetHooks(hooks) => {
                self.hooks = hooks;
                self.raw(op)
            }
            Op::Load(flags) => self.load(flags),
            Op::Shutdown => {
                let outcome = self.raw(op);
                if self.rule(Rule::Abort) {
                    self.machine.world().end(libc::ECANCELED);
                    self.is_aborted = true;
                    // Only the error is one, also of this.
                    return Outcome::answer(outcome.answer.min(0));
                }
                outcome
            }
            _ => self.raw(op),
        }
    }

    /// Whether the operation is for the other direction.
    fn is_wrong(&self, op: Op) -> bool {
        match op {
            Op::Byte | Op::Be16 | Op::Be32 | Op::Be64 | Op::Buffer(_) | Op::InPlace(_) => {
                !self.is_source
            }
            Op::PeekByte(_) | Op::Peek(..) | Op::Skip(_) | Op::Counted => !self.is_source,
            Op::Put(_) | Op::Async(..) => self.is_source,
            _ => false,
        }
    }

    fn wrong(&mut self, op: Op) -> Outcome {
        self.uses.add(Rule::WrongDirection, 1);
        let is_nothing = match op {
            Op::Peek(len, _) => len == 0,
            Op::Put(Put::Buffer(from, len)) => memory::pool(from, len).is_empty(),
            Op::Async(at, len, _) => self.machine.guest_len(at, len) == 0,
            _ => false,
        };
        let number = match op {
            // What is looked at first.
            Op::Put(Put::Compressed(.., level)) if !(-1..=9).contains(&level) => libc::EINVAL,
            _ => libc::EBADF,
        };
        if !is_nothing && self.against == Against::C {
            self.set_error(number);
        }
        match op {
            Op::Counted => text_of_nothing(),
            Op::Put(Put::Compressed(..)) => Outcome::answer(-1),
            _ => Outcome::default(),
        }
    }

    /// Counts what the channel was spared.
    pub(crate) fn settle(&mut self) {
        let is_source = self.is_source;
        let count = self.machine.world().spared_count;
        let by = |read, write| if is_source { read } else { write };
        self.uses.add(Rule::PartialWrite, count[0].into());
        self.uses
            .add(by(Rule::ReadNotReady, Rule::WriteNotReady), count[1].into());
        self.uses.add(
            by(Rule::ReadInterrupted, Rule::WriteInterrupted),
            count[2].into(),
        );
        self.uses.add(Rule::ReadClaims, count[3].into());
        self.uses
            .add(Rule::NothingSentAfterAnError, count[4].into());
    }

    /// Whether the channel was shut down.
    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted
    }

    /// Whether the channel has claimed to have written too much.
    pub(crate) fn has_claimed(&mut self) -> bool {
        self.machine.world().has_claimed
    }

    /// What waits when the stream has failed goes nowhere.
    fn send_nothing_after_an_error(&mut self) {
        if self.has_failed() && self.rules.has(Rule::NothingSentAfterAnError) {
            self.machine.world().spared.writes = true;
        }
    }
}

/// What is given of a string that is not there: only its end.
fn text_of_nothing() -> Outcome {
    Outcome {
        answer: 0,
        bytes: vec![0],
    }
}

impl Subject for Mended<'_> {
    fn has(&self, _: Op) -> bool {
        true
    }

    fn run(&mut self, op: Op) -> Outcome {
        self.send_nothing_after_an_error();
        if self.is_wrong(op) {
            return self.wrong(op);
        }
        match op {
            Op::Byte | Op::Be16 | Op::Be32 | Op::Be64 | Op::Buffer(_) | Op::InPlace(_) => {
                self.get(op)
            }
            Op::PeekByte(_) | Op::Peek(..) | Op::Skip(_) | Op::Counted => self.get(op),
            Op::Tell if self.is_source => self.get(op),
            Op::Put(_) | Op::Stage(_) | Op::Transfer | Op::Async(..) | Op::Late(..) => {
                self.write(op)
            }
            Op::Flush | Op::Tell | Op::Update(_) | Op::Before(_) | Op::After(_) => self.write(op),
            Op::SavePage(..) => self.write(op),
            _ => self.control(op),
        }
    }

    fn close(&mut self) -> Outcome {
        self.send_nothing_after_an_error();
        if self.is_aborted && !self.is_source {
            self.set_error(libc::ECANCELED);
            self.send_nothing_after_an_error();
        }
        self.machine.close()
    }

    fn error(&self) -> i32 {
        self.machine.error()
    }

    fn position(&self) -> i64 {
        if self.is_source {
            let inside = self.inside();
            let waiting = i64::from(inside.size - inside.index);
            return self.machine.position() - waiting;
        }
        self.machine.position() - self.external
    }

    fn external(&self) -> i64 {
        self.external
    }

    fn world(&mut self) -> &mut World {
        self.machine.world()
    }

    fn guest(&mut self) -> &mut memory::Guest {
        self.machine.guest()
    }
}
