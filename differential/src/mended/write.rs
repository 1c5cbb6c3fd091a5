//! What is written, and what is built without a channel.

use super::{Against, BUFFER, Mended};
use crate::channel::Event;
use crate::codec;
use crate::memory;
use crate::program::{Op, Put};
use crate::rules::Rule;
use crate::subject::{Outcome, Subject as _};

/// Room for the length of a record.
const LENGTH: usize = 4;

/// Records that one stream without a channel takes: each is a segment, and nothing ever sends them.
const RECORDS: usize = 40;

impl Mended<'_> {
    fn record(&mut self, from: u32, len: u32, level: i32) -> Outcome {
        let block = memory::pool(from, len);
        if !(-1..=9).contains(&level) && self.rule(Rule::RecordLevel) {
            if self.against == Against::C {
                self.set_error(libc::EINVAL);
            }
            return Outcome::answer(-1);
        }
        let waiting = self.machine.position() - self.external;
        if self
            .machine
            .world()
            .fails_before(usize::try_from(waiting).unwrap_or(0))
            && !self.has_failed()
        {
            // A record that begins after the failure is not told from one before it: let it be before.
            self.uses.add(Rule::MomentOfSending, 1);
            self.raw(Op::Flush);
        }
        if self.has_failed() {
            self.uses.add(Rule::RecordAfterAnError, 1);
            return Outcome::answer(-1);
        }
        if BUFFER - LENGTH < codec::bound(block.len()) && self.rule(Rule::RecordLarge) {
            let record = compressed(block, level);
            self.machine.put_bytes(&record);
            self.counted += i64::try_from(record.len()).unwrap_or(0);
            return Outcome::answer(i64::try_from(record.len()).unwrap_or(0));
        }
        let inside = self.inside();
        if inside.index > 32_764 || (inside.segments == 63 && inside.adjacent == 0) {
            self.uses.add(Rule::RecordAtTheEdge, 1);
            self.raw(Op::Flush);
        }
        let outcome = self.raw(Op::Put(Put::Compressed(from, len, level)));
        if outcome.answer > 0 {
            self.counted += 4;
            self.records += outcome.answer - 4;
        }
        outcome
    }

    fn stage(&mut self, put: Put) -> Outcome {
        if self.staging_failed {
            let is_record = matches!(put, Put::Compressed(..));
            return Outcome::answer(if is_record { -1 } else { 0 });
        }
        let (staged, records) = self.machine.staged();
        let room = BUFFER - 1 - staged;
        let bytes = match put {
            Put::Byte(_) => 1,
            Put::Be16(_) => 2,
            Put::Be32(_) => 4,
            Put::Be64(_) => 8,
            Put::Buffer(from, len) => memory::pool(from, len).len(),
            Put::Compressed(from, len, level) => {
                let block = memory::pool(from, len);
                if !(-1..=9).contains(&level)
                    && self.against == Against::C
                    && self.rule(Rule::RecordLevel)
                {
                    self.staging_failed = true;
                    return Outcome::answer(-1);
                }
                LENGTH + codec::bound(block.len())
            }
        };
        if bytes <= room && records < RECORDS {
            return self.raw(Op::Stage(put));
        }
        self.uses.add(Rule::StagingGrows, 1);
        if bytes < BUFFER {
            self.machine.stage_anew();
            return self.raw(Op::Stage(put));
        }
        let (bytes, answer) = match put {
            Put::Compressed(from, len, level) => {
                let record = compressed(memory::pool(from, len), level);
                let answer = i64::try_from(record.len()).unwrap_or(0);
                (record, answer)
            }
            Put::Buffer(from, len) => (memory::pool(from, len).to_vec(), 0),
            _ => return Outcome::default(),
        };
        for piece in bytes.chunks(BUFFER - 1) {
            self.machine.stage_anew();
            self.machine.stage_bytes(piece);
        }
        Outcome::answer(answer)
    }

    fn page(&mut self, op: Op, asks: bool) -> Outcome {
        let Some((hook, bytes)) = self.hooks.and_then(|hooks| hooks.save_page) else {
            if self.has_failed()
                && self.against == Against::Rust
                && self.rule(Rule::PageAfterAnError)
            {
                return self.page_outcome(self.machine.error().into(), 0);
            }
            return self.raw(op);
        };
        if self.has_failed() && self.rule(Rule::PageAfterAnError) {
            return self.page_outcome(self.machine.error().into(), 0);
        }
        let sent = if asks { bytes } else { 0 };
        // What is neither moved nor counted is nothing in a type.
        let told = if self.against == Against::Rust {
            0
        } else {
            sent
        };
        let Op::SavePage(block, offset, len, _) = op else {
            return Outcome::default();
        };
        let event = Event::Page(block.into(), offset.into(), len as usize, asks);
        match hook.answer {
            -1000 if self.rule(Rule::PageNotMine) => {
                self.machine.world().events.push(event);
                self.page_outcome(-1000, told)
            }
            -2000 => {
                self.raw(op);
                self.page_outcome(-2000, told)
            }
            answer if answer < 0 && answer != -1000 && sent > 0 && self.rule(Rule::PageFails) => {
                self.machine.world().events.push(event);
                self.set_error(-answer);
                self.page_outcome(answer.into(), told)
            }
            answer => {
                let mut outcome = self.raw(op);
                if answer < 0 && self.rules.has(Rule::PageFails) {
                    outcome.bytes = u64::from(told).to_be_bytes().to_vec();
                } else {
                    if sent > 0 && self.rule(Rule::ExternalMovesNothing) {
                        self.external += i64::from(sent);
                    }
                    self.external_since += i64::from(sent);
                }
                outcome
            }
        }
    }

    fn page_outcome(&self, answer: i64, sent: u32) -> Outcome {
        Outcome {
            answer,
            bytes: u64::from(sent).to_be_bytes().to_vec(),
        }
    }

    pub(super) fn write(&mut self, op: Op) -> Outcome {
        let hook = match op {
            Op::Before(_) => self.hooks.and_then(|hooks| hooks.before),
            Op::After(_) => self.hooks.and_then(|hooks| hooks.after),
            _ => None,
        };
        let before = self.machine.position();
        let outcome = match op {
            Op::Put(Put::Compressed(from, len, level)) => return self.record(from, len, level),
            Op::Stage(put) => {
                let outcome = self.stage(put);
                self.staged += match put {
                    Put::Compressed(..) => outcome.answer.max(0),
                    put => self.size(Op::Put(put), &outcome),
                };
                return outcome;
            }
            Op::Transfer if self.has_failed() && self.rule(Rule::StagingOfAFailed) => {
                return Outcome::default();
            }
            Op::Transfer if self.staging_failed => {
                self.set_error(libc::EINVAL);
                return Outcome::default();
            }
            Op::Before(_) | Op::After(_)
                if hook.is_some() && self.has_failed() && self.rule(Rule::HookAfterAnError) =>
            {
                return Outcome::default();
            }
            Op::SavePage(.., asks) => return self.page(op, asks),
            Op::Update(bytes) => {
                if self.rule(Rule::ExternalMovesNothing) {
                    self.external += i64::from(bytes);
                }
                self.external_since += i64::from(bytes);
                return self.raw(op);
            }
            Op::Flush | Op::Tell | Op::Late(..) if self.is_aborted => {
                self.set_error(libc::ECANCELED);
                self.raw(op)
            }
            _ => self.raw(op),
        };
        self.counted += (self.machine.position() - before).max(0);
        if op == Op::Tell {
            return Outcome::answer(outcome.answer - self.external);
        }
        outcome
    }
}

fn compressed(block: &[u8], level: i32) -> Vec<u8> {
    let level = u32::try_from(level).unwrap_or(6);
    let mut record = vec![0; most(block)];
    let len = codec::compress(block, &mut record[LENGTH..], level).unwrap_or(0);
    record.truncate(LENGTH + len);
    record[..LENGTH].copy_from_slice(&u32::try_from(len).unwrap_or(0).to_be_bytes());
    record
}

/// What a record of this block may be long, with a margin for other compressors than zlib.
pub(super) fn most(block: &[u8]) -> usize {
    LENGTH + codec::bound(block.len()) + block.len() / 8 + 64
}
