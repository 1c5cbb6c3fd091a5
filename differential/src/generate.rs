//! Programs, from bytes: those of a random generator in a run, those of the fuzzer in a fuzz target.

use arbitrary::{Result, Unstructured};

use crate::memory::Guest;
use crate::program::{Channel, Fault, Hook, Hooks, Op, Program, Put, Source, What};

/// Bytes from which one program is made in a run: more than most programs need. What is missing counts as 0.
const BYTES: usize = 1 << 10;

impl Program {
    /// The program number `number` of the run `seed`.
    pub fn random(seed: u64, number: u64) -> Self {
        let mut noise = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        let mut bytes = [0; BYTES];
        noise.fill(&mut bytes);
        Self::from_bytes(&bytes)
    }

    /// The program that `bytes` stand for.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut dice = Dice(Unstructured::new(bytes));
        let nothing = Self {
            channel: Channel {
                source: None,
                faults: Vec::new(),
                close: None,
                shut_down: None,
                blocking: false,
                return_path: false,
            },
            ops: Vec::new(),
        };
        dice.program().unwrap_or(nothing)
    }
}

struct Dice<'a>(Unstructured<'a>);

impl Dice<'_> {
    /// A number below `n`.
    fn below(&mut self, n: u32) -> Result<u32> {
        self.0.int_in_range(0..=n.max(1) - 1)
    }

    /// Whether it is one of `n`.
    fn one_of(&mut self, n: u32) -> Result<bool> {
        Ok(self.below(n)? == 0)
    }

    /// A number of up to `bits` bits, the smaller the likelier.
    fn size(&mut self, bits: u32) -> Result<u32> {
        let bits = self.below(bits + 1)?;
        self.below(1 << bits)
    }

    fn program(&mut self) -> Result<Program> {
        let source = match self.one_of(2)? {
            true => Some(self.source()?),
            false => None,
        };
        let mut faults = Vec::new();
        if self.one_of(2)? {
            let reach = source.map_or(1 << 17, |source| source.len.max(1));
            for _ in 0..=self.below(3)? {
                faults.push(self.fault(reach)?);
            }
            faults.sort_by_key(|fault| fault.at);
        }
        let channel = Channel {
            source,
            faults,
            close: self.answer()?,
            shut_down: self.answer()?,
            blocking: !self.one_of(4)?,
            return_path: self.one_of(2)?,
        };
        let mut ops = match channel.source {
            None if self.one_of(12)? => self.opening()?,
            _ => Vec::new(),
        };
        let count = ops.len() + 1 + self.below(40)? as usize;
        // One kind of operation is often done again and again, as programs do.
        let mut last = None;
        while ops.len() < count {
            let op = match last {
                Some(last) if self.one_of(3)? => last,
                Some(Op::SetLimit(_) | Op::Update(_) | Op::SavePage(..)) if self.one_of(2)? => {
                    Op::IsLimited
                }
                Some(Op::Put(Put::Compressed(..))) if self.one_of(6)? => Op::IsLimited,
                _ if self.one_of(5)? => self.control(channel.source.is_some())?,
                // For the other direction.
                _ if self.one_of(150)? => match channel.source {
                    Some(_) => Op::Put(self.put()?),
                    None => self.get()?,
                },
                _ if channel.source.is_some() => self.get()?,
                _ => self.put_somewhere()?,
            };
            last = Some(op);
            ops.push(op);
        }
        Ok(Program { channel, ops })
    }

    /// What fills the original's list of segments, or its buffer, almost.
    fn opening(&mut self) -> Result<Vec<Op>> {
        let record = Op::Put(Put::Compressed(self.size(17)?, self.len()?, 1));
        if self.one_of(2)? {
            let len = 32_768 - 8 + self.below(10)?;
            return Ok(vec![Op::Put(Put::Buffer(0, len)), record]);
        }
        let count = 58 + self.below(7)?;
        let apart = |number| Op::Async(number * 16, 8, false);
        Ok((0..count).map(apart).chain([record]).collect())
    }

    fn source(&mut self) -> Result<Source> {
        let piece = match self.below(4)? {
            0 | 1 => 0,
            2 => 1 + self.below(40)?,
            _ => 1 + self.size(16)?,
        };
        // One that goes byte by byte is not long: each byte is a call.
        let bits = if (1..16).contains(&piece) { 12 } else { 18 };
        Ok(Source {
            len: self.size(bits)?,
            seed: u8::try_from(self.below(256)?).unwrap_or(0),
            piece,
        })
    }

    fn fault(&mut self, reach: u32) -> Result<Fault> {
        let at = match self.below(3)? {
            0 => self.below(reach)?,
            1 => self.size(17)?,
            _ => self.below(80)?,
        };
        let number = [libc::EIO, libc::ENOSPC, libc::ECONNRESET, libc::EPIPE];
        let number = number[self.below(4)? as usize];
        let times = u8::try_from(1 + self.below(3)?).unwrap_or(1);
        let what = match self.below(12)? {
            0..=2 => What::Cut,
            3 | 4 => What::Again(times),
            5 => What::Interrupted(times),
            6 => What::FailsOnce(number),
            7..=9 => What::Fails(number),
            10 => What::End,
            _ => What::Claims,
        };
        Ok(Fault { at, what })
    }

    /// What something of the channel's answers, if it is there.
    fn answer(&mut self) -> Result<Option<i32>> {
        Ok(match self.below(6)? {
            0 => None,
            1 => Some(-libc::ENOTCONN),
            2 => Some(5),
            _ => Some(0),
        })
    }

    fn put_somewhere(&mut self) -> Result<Op> {
        Ok(match self.below(20)? {
            0..=9 => Op::Put(self.put()?),
            10..=13 => Op::Async(self.place()?, self.len()?, self.one_of(3)?),
            14 | 15 => Op::Stage(self.put()?),
            16 => Op::Transfer,
            17 | 18 => Op::Flush,
            _ if self.one_of(4)? => Op::Late(self.place()?, self.len()?),
            _ => Op::Tell,
        })
    }

    fn put(&mut self) -> Result<Put> {
        Ok(match self.below(16)? {
            0..=3 => Put::Byte(self.0.arbitrary()?),
            4 | 5 => Put::Be16(self.0.arbitrary()?),
            6 | 7 => Put::Be32(self.0.arbitrary()?),
            8 | 9 => Put::Be64(self.0.arbitrary()?),
            10..=13 => Put::Buffer(self.size(17)?, self.len()?),
            _ => Put::Compressed(self.size(17)?, self.len()?, self.level()?),
        })
    }

    fn level(&mut self) -> Result<i32> {
        Ok(match self.below(20)? {
            0 => -1,
            1 => 10,
            _ => i32::try_from(self.below(10)?).unwrap_or(0),
        })
    }

    /// How many bytes: often few, a page, or about a buffer of the original.
    fn len(&mut self) -> Result<u32> {
        Ok(match self.below(16)? {
            0..=5 => self.below(20)?,
            6..=8 => self.size(12)?,
            9..=12 => 4096,
            13 => 32_768 - 40 + self.below(80)?,
            14 => self.size(15)?,
            _ => self.size(17)?,
        })
    }

    /// Where in the guest's memory: mostly at a page, and often next to another.
    fn place(&mut self) -> Result<u32> {
        let pages = u32::try_from(Guest::LEN / 4096).unwrap_or(1);
        let page = self.below(pages)? * 4096;
        Ok(match self.below(8)? {
            0 => page + self.below(4096)?,
            1 => page + 8,
            _ => page,
        })
    }

    fn get(&mut self) -> Result<Op> {
        Ok(match self.below(20)? {
            0 | 1 => Op::Byte,
            2 => Op::Be16,
            3 | 4 => Op::Be32,
            5 | 6 => Op::Be64,
            7..=9 => Op::Buffer(self.len()?),
            10 | 11 => Op::InPlace(self.len()?),
            12 => Op::PeekByte(i32::try_from(self.size(16)?).unwrap_or(0)),
            13..=15 => Op::Peek(self.len()?, self.size(15)?),
            16 => Op::Skip(i32::try_from(self.len()?).unwrap_or(0)),
            17 if self.one_of(8)? => Op::Skip(-i32::try_from(self.below(20)?).unwrap_or(0)),
            _ => Op::Counted,
        })
    }

    /// What is neither put nor got.
    fn control(&mut self, is_source: bool) -> Result<Op> {
        Ok(match self.below(20)? {
            0 if self.one_of(3)? => Op::SetError(self.error()?),
            0 | 1 => Op::IsLimited,
            2 => Op::Limit,
            3 | 4 => Op::SetLimit(self.limit()?),
            5 => Op::ResetLimit,
            6 if !is_source => Op::Update(self.size(16)?),
            7..=9 => Op::SetHooks(self.hooks()?),
            10 | 11 if is_source => Op::Load(self.below(5)?.into()),
            10 => Op::Before(self.below(5)?.into()),
            11 => Op::After(self.below(5)?.into()),
            12..=14 if !is_source => {
                Op::SavePage(self.below(4)?, self.place()?, 4096, !self.one_of(4)?)
            }
            15 if self.one_of(4)? => Op::Shutdown,
            16 => Op::ReturnPath,
            17 => Op::SetBlocking(self.one_of(2)?),
            18 => Op::IsWritable,
            _ if is_source => Op::Tell,
            _ => Op::Flush,
        })
    }

    fn error(&mut self) -> Result<i32> {
        Ok([0, 7, -libc::EINVAL, -libc::EIO][self.below(4)? as usize])
    }

    fn limit(&mut self) -> Result<i64> {
        Ok(match self.below(8)? {
            0 => 0,
            1 => -1,
            2..=5 => self.size(12)?.into(),
            _ => self.size(17)?.into(),
        })
    }

    fn hooks(&mut self) -> Result<Option<Hooks>> {
        if self.one_of(5)? {
            return Ok(None);
        }
        let save_page = match self.hook()? {
            Some(hook) => Some((self.page(hook)?, [0, 4096, 1][self.below(3)? as usize])),
            None => None,
        };
        Ok(Some(Hooks {
            before: self.hook()?,
            after: self.hook()?,
            load: self.hook()?,
            save_page,
        }))
    }

    fn hook(&mut self) -> Result<Option<Hook>> {
        if self.one_of(3)? {
            return Ok(None);
        }
        let answer = [0, 0, 0, 3, -libc::EREMOTEIO, -libc::EINVAL][self.below(6)? as usize];
        Ok(Some(Hook {
            bytes: u8::try_from(self.below(20)?).unwrap_or(0),
            answer,
        }))
    }

    /// A hook for pages: it may say that it does not move them, or does so later.
    fn page(&mut self, hook: Hook) -> Result<Hook> {
        let answer = [hook.answer, 4096, -1000, -2000, -libc::EREMOTEIO][self.below(5)? as usize];
        Ok(Hook { answer, ..hook })
    }
}
