//! Two implementations, side by side, and what is compared after each operation.

use super::Difference;
use super::marks::{Mark, pages, within};
use crate::channel::Event;
use crate::mended::Mended;
use crate::program::{Op, Program};
use crate::rules::{Rule, Rules, Uses};
use crate::subject::{Outcome, Subject};

pub(super) struct Pair<'g, S> {
    ours: S,
    mended: Mended<'g>,
    rules: Rules,
    is_source: bool,
    marks: Vec<Mark>,
    /// Bytes written that were compared already.
    compared: usize,
    /// There is nothing more to compare.
    is_over: bool,
}

impl<'g, S: Subject> Pair<'g, S> {
    pub(super) fn new(ours: S, mended: Mended<'g>, rules: Rules, is_source: bool) -> Self {
        Self {
            ours,
            mended,
            rules,
            is_source,
            marks: Vec::new(),
            compared: 0,
            is_over: false,
        }
    }

    pub(super) fn run(mut self, program: &Program) -> (Result<(), Difference>, Uses) {
        let result = self.run_all(program);
        self.mended.settle();
        (result, self.mended.uses)
    }

    fn run_all(&mut self, program: &Program) -> Result<(), Difference> {
        for (step, op) in program.ops.iter().enumerate() {
            if self.is_over {
                break;
            }
            self.step(*op).map_err(|what| Difference {
                step,
                what: format!("{op:?}: {what}"),
            })?;
        }
        if self.is_over {
            return Ok(());
        }
        let step = program.ops.len();
        let result = self.end();
        result.map_err(|what| Difference {
            step,
            what: format!("at the end: {what}"),
        })
    }

    /// The operation as both can do it, if there is anything to compare.
    fn prepared(&self, op: Op) -> Option<Op> {
        let op = match op {
            // The memory that there is.
            Op::Async(at, len, may_free) => {
                let (at, len) = within(at, len);
                Op::Async(at, len, may_free)
            }
            Op::Late(at, len) => {
                let (at, len) = within(at, len);
                Op::Late(at, len)
            }
            op => op,
        };
        if let Op::Async(at, len, _) | Op::Late(at, len) = op {
            // Memory that may be given back is not looked at again: when it goes depends on the moment of sending.
            let gone: u64 = self
                .marks
                .iter()
                .fold(0, |gone, mark| gone | mark.touched());
            if gone & pages(at, len) != 0 || self.is_source && matches!(op, Op::Late(..)) {
                return None;
            }
        }
        (self.ours.has(op) && self.mended.has(op)).then_some(op)
    }

    fn step(&mut self, op: Op) -> Result<(), String> {
        let Some(op) = self.prepared(op) else {
            return Ok(());
        };
        let had_failed = self.mended.error() != 0;
        let before = self.ours.position();
        let ours = self.ours.run(op);
        let mended = self.mended.run(op);
        let size = self.mended.size(op, &ours);
        if let Op::Async(at, len, true) = op {
            let end = before + size;
            self.marks.push(Mark { at, len, end });
        }
        self.agree_on_errors(op)?;
        if self.is_over {
            return Ok(());
        }
        let has_failed = self.mended.error() != 0;
        let fails_now = has_failed && !had_failed;
        self.compare_outcomes(op, &ours, &mended, fails_now)?;
        self.compare_events(has_failed)?;
        self.compare_positions(before, size, had_failed, has_failed)?;
        let is_flushed = matches!(op, Op::Flush | Op::Tell | Op::Late(..)) && !self.is_source;
        self.compare_written(is_flushed, has_failed)?;
        if is_flushed {
            self.compare_released(has_failed)?;
        }
        Ok(())
    }

    /// The first error is the same; where only one has met the channel's failure, the other has still to send what
    /// leads to it.
    fn agree_on_errors(&mut self, op: Op) -> Result<(), String> {
        let (ours, other) = (self.ours.error(), self.mended.error());
        if ours == other {
            return Ok(());
        }
        let is_one = ours == 0 || other == 0;
        if self.is_source && is_one && self.mended.is_aborted() {
            // How much was read ahead of the shutdown is left to the stream; what is there is given.
            self.mended.uses.add(Rule::Abort, 1);
            self.ours.run(Op::SetError(-libc::ECANCELED));
            self.mended.run(Op::SetError(-libc::ECANCELED));
        } else if is_one && !self.is_source && self.rules.has(Rule::MomentOfSending) {
            self.mended.uses.add(Rule::MomentOfSending, 1);
            if ours == 0 {
                self.ours.run(Op::Flush);
            } else {
                self.mended.run(Op::Flush);
            }
        }
        let (ours, other) = (self.ours.error(), self.mended.error());
        if ours != other && self.is_either_of_a_hook(op) {
            self.mended.uses.add(Rule::MomentOfSending, 1);
            self.is_over = true;
            return Ok(());
        }
        if ours != other {
            return Err(format!("the error is {ours}, in the original {other}"));
        }
        Ok(())
    }

    /// Whether one of them has met the channel's failure while a hook was putting something, and the other has the
    /// hook's own error, because it had not sent that much yet.
    fn is_either_of_a_hook(&mut self, op: Op) -> bool {
        let (ours, other) = (self.ours.error(), self.mended.error());
        let is_hook = matches!(op, Op::Before(_) | Op::After(_)) && ours != 0 && other != 0;
        let ours_failed = self.ours.world().write_failed == Some(ours);
        let other_failed = self.mended.world().write_failed == Some(other);
        is_hook && ours_failed != other_failed && self.rules.has(Rule::MomentOfSending)
    }

    fn compare_outcomes(
        &mut self,
        op: Op,
        ours: &Outcome,
        mended: &Outcome,
        fails_now: bool,
    ) -> Result<(), String> {
        // Whether a put that leads to an error of the channel was still taken depends on the moment of sending; its
        // position is looked at below.
        let depends = !self.is_source && fails_now && self.rules.has(Rule::MomentOfSending);
        let is_put = matches!(op, Op::Put(_) | Op::Transfer | Op::IsLimited);
        if ours == mended || (depends && is_put) {
            return Ok(());
        }
        if self.is_source && fails_now && self.mended.is_aborted() {
            // As above: those that both have are the same. A number is whole or 0.
            let both = ours.bytes.len().min(mended.bytes.len());
            let is_known = matches!(op, Op::Buffer(_) | Op::InPlace(_) | Op::Peek(..));
            if !is_known || ours.bytes[..both] == mended.bytes[..both] {
                return Ok(());
            }
        }
        if op == Op::Tell && self.mended.error() != 0 {
            // The original stands where the last write began that it knows of.
            let sent = self.ours.world().written.len() as i64;
            let is_claim = self.ours.world().has_claimed;
            if self.rules.has(Rule::PositionAfterAnError)
                && (ours.answer <= sent || is_claim || self.is_source)
            {
                self.mended.uses.add(Rule::PositionAfterAnError, 1);
                return Ok(());
            }
        }
        let told = |outcome: &Outcome| {
            let bytes = &outcome.bytes;
            let start = &bytes[..bytes.len().min(16)];
            format!("{} with {} bytes {start:02x?}", outcome.answer, bytes.len())
        };
        let at = ours
            .bytes
            .iter()
            .zip(&mended.bytes)
            .position(|(ours, other)| ours != other);
        Err(format!(
            "the result is {}, in the original {}; the first byte that differs: {at:?}",
            told(ours),
            told(mended)
        ))
    }

    fn compare_events(&mut self, has_failed: bool) -> Result<(), String> {
        let (mut ours, mut other) = (self.ours.take_events(), self.mended.take_events());
        if has_failed {
            // What a hook takes out of a stream that fails meanwhile is what any get gives then.
            let is_kept = |event: &Event| !matches!(event, Event::Took(_));
            ours.retain(is_kept);
            other.retain(is_kept);
        }
        if ours != other {
            return Err(format!(
                "the channel was asked for {ours:?}, by the original {other:?}"
            ));
        }
        Ok(())
    }

    fn compare_positions(
        &mut self,
        before: i64,
        size: i64,
        had_failed: bool,
        has_failed: bool,
    ) -> Result<(), String> {
        let (ours, other) = (self.ours.position(), self.mended.position());
        if ours == other {
            return Ok(());
        }
        if has_failed && self.rules.has(Rule::PositionAfterAnError) {
            // What was put before the error, and maybe what was being put.
            let put = match had_failed {
                true => before..=before,
                false => before..=before + size,
            };
            if self.is_source || put.contains(&ours) {
                self.mended.uses.add(Rule::PositionAfterAnError, 1);
                return Ok(());
            }
        }
        Err(format!("the position is {ours}, in the original {other}"))
    }

    fn compare_written(&mut self, is_flushed: bool, has_failed: bool) -> Result<(), String> {
        let (mine, other) = (&self.ours.world().written, &self.mended.world().written);
        let both = mine.len().min(other.len());
        let from = self.compared.min(both);
        if mine[from..both] != other[from..both] {
            let at = (from..both).find(|at| mine[*at] != other[*at]);
            return Err(format!("byte {at:?} of the stream is another"));
        }
        self.compared = both;
        let (ours, other) = (mine.len(), other.len());
        // After an error that is not the channel's, how much was sent before depends on the moment.
        let is_same = !has_failed || self.mended.world().write_failed.is_some();
        let is_aborted = self.mended.is_aborted();
        if is_flushed && is_same && !is_aborted && ours != other {
            return Err(format!("{ours} bytes were sent, by the original {other}"));
        }
        let places = [
            (self.ours.world().misplaced.take(), self.ours.external()),
            (self.mended.world().misplaced.take(), self.mended.external()),
        ];
        for (misplaced, external) in places {
            if !has_failed
                && self.rules.has(Rule::ExternalMovesNothing)
                && misplaced.is_some_and(|by| by != external)
            {
                return Err(format!(
                    "the channel is told a place that is off: {places:?}"
                ));
            }
        }
        Ok(())
    }

    fn compare_released(&mut self, has_failed: bool) -> Result<(), String> {
        let ours = self.ours.guest().gone();
        let other = self.mended.guest().gone();
        let sent = self.ours.world().written.len() as i64;
        let is_mine = |mark: &&Mark| !has_failed || mark.end <= sent;
        let whole = self
            .marks
            .iter()
            .filter(is_mine)
            .fold(0, |all, mark| all | mark.whole());
        let is_expected = has_failed || ours == whole || !self.rules.has(Rule::ReleaseWholePages);
        if ours == other && is_expected {
            return Ok(());
        }
        let rule = match has_failed {
            true => Rule::ReleaseAfterAnError,
            false => Rule::ReleaseWholePages,
        };
        let is_right = match has_failed {
            true => ours & !whole == 0,
            false => ours == whole && !self.marks.iter().all(|mark| mark.is_whole()),
        };
        if self.rules.has(rule) && is_right {
            self.mended.uses.add(rule, 1);
            return Ok(());
        }
        Err(format!(
            "the pages {ours:x} were given back, by the original {other:x}; sent were {whole:x}"
        ))
    }

    fn end(&mut self) -> Result<(), String> {
        let had_failed = self.mended.error() != 0;
        let (mine, other) = (self.ours.close(), self.mended.close());
        if mine != other {
            return Err(format!(
                "closing answers {}, in the original {}",
                mine.answer, other.answer
            ));
        }
        // Closing sends, and may fail at that.
        let has_failed = had_failed || self.mended.is_aborted() || self.mended.has_claimed();
        let fails_now = self.mended.world().write_failed.is_some();
        self.compare_events(has_failed)?;
        self.compare_written(!self.is_source, has_failed || fails_now)?;
        if self.is_source {
            return Ok(());
        }
        self.compare_released(has_failed || fails_now)
    }
}
