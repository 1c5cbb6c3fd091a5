//! Commands: what the source tells the destination between sections.
//!
//! ```text
//! 08  u16 command  u16 length  payload
//! ```
//!
//! A PACKAGED command is followed by a whole nested stream, outside its length.

use std::ops::Range;

use super::{FormatError, Sink, Source};

/// A command with its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// The destination may use the reverse direction of the channel.
    #[doc(alias = "MIG_CMD_OPEN_RETURN_PATH")]
    OpenReturnPath,
    /// Asks for a PONG with the same value.
    #[doc(alias = "MIG_CMD_PING")]
    Ping(u32),
    /// Postcopy may follow: the destination empties its RAM.
    #[doc(alias = "MIG_CMD_POSTCOPY_ADVISE")]
    PostcopyAdvise(PostcopyAdvise),
    /// The destination starts to catch page faults.
    #[doc(alias = "MIG_CMD_POSTCOPY_LISTEN")]
    PostcopyListen,
    /// The destination runs the guest.
    #[doc(alias = "MIG_CMD_POSTCOPY_RUN")]
    PostcopyRun,
    /// The destination drops these pages: they will be sent again, or have never been sent.
    #[doc(alias = "MIG_CMD_POSTCOPY_RAM_DISCARD")]
    PostcopyRamDiscard(RamDiscard),
    /// A nested stream of this many bytes follows.
    #[doc(alias = "MIG_CMD_PACKAGED")]
    Packaged(u32),
    /// COLO begins.
    #[doc(alias = "MIG_CMD_ENABLE_COLO")]
    EnableColo,
    /// A broken postcopy goes on.
    #[doc(alias = "MIG_CMD_POSTCOPY_RESUME")]
    PostcopyResume,
    /// Asks which pages of this RAM block have been received.
    #[doc(alias = "MIG_CMD_RECV_BITMAP")]
    RecvBitmap(String),
    /// The source has stopped and has sent all live data (QEMU 10.0 and later).
    #[doc(alias = "MIG_CMD_SWITCHOVER_START")]
    SwitchoverStart,
}

/// What both sides must agree on before postcopy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostcopyAdvise {
    /// Only dirty bitmaps will be sent after the switchover, no RAM.
    Bitmaps,
    /// RAM will be sent after the switchover.
    Ram {
        /// All host page sizes of all RAM blocks, in bytes, combined by OR.
        page_sizes: u64,
        /// The target page size in bytes.
        target_page_size: u64,
    },
}

/// Ranges of one RAM block that the destination is to drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamDiscard {
    /// The RAM block's name.
    pub block: String,
    /// Byte ranges within the block, on host-page boundaries. A range may be empty. One that
    /// reaches out of the block kills the destination with SIGSEGV (QEMU 7.2 and 10.0).
    pub ranges: Vec<Range<u64>>,
}

/// The most ranges that QEMU puts into one discard command; a destination takes more.
#[doc(alias = "MAX_DISCARDS_PER_COMMAND")]
pub const DISCARD_RANGES: usize = 12;

const OPEN_RETURN_PATH: u16 = 1;
const PING: u16 = 2;
const POSTCOPY_ADVISE: u16 = 3;
const POSTCOPY_LISTEN: u16 = 4;
const POSTCOPY_RUN: u16 = 5;
const POSTCOPY_RAM_DISCARD: u16 = 6;
const PACKAGED: u16 = 7;
const ENABLE_COLO: u16 = 8;
const POSTCOPY_RESUME: u16 = 9;
const RECV_BITMAP: u16 = 10;
const SWITCHOVER_START: u16 = 11;

const RAM_DISCARD_VERSION: u8 = 0;
const RANGE_LEN: u16 = 16;
const WHAT: &str = "a command";

impl Command {
    /// Reads a command, from behind its type byte (08) on.
    ///
    /// # Errors
    /// The stream ends inside it, it is unknown, or its length is not that of its kind.
    pub fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        let at = source.position();
        let number = source.be16(WHAT)?;
        let len_at = source.position();
        let len = source.be16(WHAT)?;
        let fixed = |expected: u16| {
            if len == expected {
                return Ok(());
            }
            let what = "the length of a command";
            let found = format!("{len} in command {number}");
            Err(FormatError::unexpected(
                len_at,
                what,
                expected.to_string(),
                found,
            ))
        };
        Ok(match number {
            OPEN_RETURN_PATH => fixed(0).map(|()| Self::OpenReturnPath)?,
            PING => {
                fixed(4)?;
                Self::Ping(source.be32(WHAT)?)
            }
            POSTCOPY_ADVISE if len == 0 => Self::PostcopyAdvise(PostcopyAdvise::Bitmaps),
            POSTCOPY_ADVISE => {
                fixed(16)?;
                Self::PostcopyAdvise(PostcopyAdvise::Ram {
                    page_sizes: source.be64(WHAT)?,
                    target_page_size: source.be64(WHAT)?,
                })
            }
            POSTCOPY_LISTEN => fixed(0).map(|()| Self::PostcopyListen)?,
            POSTCOPY_RUN => fixed(0).map(|()| Self::PostcopyRun)?,
            POSTCOPY_RAM_DISCARD => Self::PostcopyRamDiscard(RamDiscard::decode(source, len)?),
            PACKAGED => {
                fixed(4)?;
                Self::Packaged(source.be32(WHAT)?)
            }
            ENABLE_COLO => fixed(0).map(|()| Self::EnableColo)?,
            POSTCOPY_RESUME => fixed(0).map(|()| Self::PostcopyResume)?,
            RECV_BITMAP => {
                let block = source.name("the RAM block of a command")?.to_owned();
                fixed(name_len(&block))?;
                Self::RecvBitmap(block)
            }
            SWITCHOVER_START => fixed(0).map(|()| Self::SwitchoverStart)?,
            other => {
                let expected = "a command from 1 to 11";
                return Err(FormatError::unexpected(at, WHAT, expected, other).into());
            }
        })
    }

    /// Writes the whole element, with its type byte.
    ///
    /// A discard with more ranges than one command can hold is cut; use [`RamDiscard::commands`].
    pub fn encode(&self, sink: &mut impl Sink) {
        let mut payload = Vec::new();
        let number = match self {
            Self::OpenReturnPath => OPEN_RETURN_PATH,
            Self::Ping(value) => {
                payload.put(&value.to_be_bytes());
                PING
            }
            Self::PostcopyAdvise(advise) => {
                if let PostcopyAdvise::Ram {
                    page_sizes,
                    target_page_size,
                } = advise
                {
                    payload.put(&page_sizes.to_be_bytes());
                    payload.put(&target_page_size.to_be_bytes());
                }
                POSTCOPY_ADVISE
            }
            Self::PostcopyListen => POSTCOPY_LISTEN,
            Self::PostcopyRun => POSTCOPY_RUN,
            Self::PostcopyRamDiscard(discard) => {
                discard.encode_payload(&mut payload);
                POSTCOPY_RAM_DISCARD
            }
            Self::Packaged(len) => {
                payload.put(&len.to_be_bytes());
                PACKAGED
            }
            Self::EnableColo => ENABLE_COLO,
            Self::PostcopyResume => POSTCOPY_RESUME,
            Self::RecvBitmap(block) => {
                payload.put_name(block);
                RECV_BITMAP
            }
            Self::SwitchoverStart => SWITCHOVER_START,
        };
        let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        sink.put(&[super::section::ElementType::Command as u8]);
        sink.put(&number.to_be_bytes());
        sink.put(&len.to_be_bytes());
        sink.put(payload.get(..usize::from(len)).unwrap_or_default());
    }
}

impl RamDiscard {
    fn decode<S: Source>(source: &mut S, len: u16) -> Result<Self, S::Error> {
        const WHAT: &str = "a discard command";
        let at = source.position();
        let version = source.u8(WHAT)?;
        if version != RAM_DISCARD_VERSION {
            let found = format!("version {version}");
            return Err(FormatError::unexpected(at, WHAT, "version 0", found).into());
        }
        let block = source
            .name("the RAM block of a discard command")?
            .to_owned();
        let nul_at = source.position();
        let nul = source.u8(WHAT)?;
        if nul != 0 {
            let found = format!("{nul:02x}");
            let expected = "00 behind the name";
            return Err(FormatError::unexpected(nul_at, WHAT, expected, found).into());
        }
        let fixed = name_len(&block).saturating_add(2);
        let rest = len.checked_sub(fixed).filter(|rest| rest % RANGE_LEN == 0);
        let Some(count) = rest.map(|rest| rest / RANGE_LEN).filter(|count| *count > 0) else {
            let expected = format!("{fixed} + 16 for each range");
            return Err(
                FormatError::unexpected(at, "the length of a command", expected, len).into(),
            );
        };
        let mut ranges = Vec::with_capacity(count.into());
        for _ in 0..count {
            let at = source.position();
            let start = source.be64(WHAT)?;
            let length = source.be64(WHAT)?;
            let Some(end) = start.checked_add(length) else {
                let found = format!("{start:#x} + {length:#x}");
                return Err(FormatError::unexpected(at, WHAT, "a range of a block", found).into());
            };
            ranges.push(start..end);
        }
        Ok(Self { block, ranges })
    }

    fn encode_payload(&self, payload: &mut Vec<u8>) {
        payload.put(&[RAM_DISCARD_VERSION]);
        payload.put_name(&self.block);
        payload.put(&[0]);
        for range in &self.ranges {
            payload.put(&range.start.to_be_bytes());
            payload.put(&range.end.saturating_sub(range.start).to_be_bytes());
        }
    }

    /// The commands that discard these ranges, with as many in each as QEMU puts there.
    pub fn commands(&self) -> impl Iterator<Item = Command> + '_ {
        self.ranges.chunks(DISCARD_RANGES).map(|ranges| {
            Command::PostcopyRamDiscard(Self {
                block: self.block.clone(),
                ranges: ranges.to_vec(),
            })
        })
    }
}

fn name_len(name: &str) -> u16 {
    u16::try_from(name.len())
        .unwrap_or(u16::MAX)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    fn samples() -> Vec<(Command, Vec<u8>)> {
        let advise = |page_sizes| {
            Command::PostcopyAdvise(PostcopyAdvise::Ram {
                page_sizes,
                target_page_size: 4096,
            })
        };
        // The bytes are those of a postcopy migration by QEMU 10.0.2, where it sends the command.
        vec![
            (Command::OpenReturnPath, b"\x08\0\x01\0\0".into()),
            (Command::Ping(1), b"\x08\0\x02\0\x04\0\0\0\x01".into()),
            (
                advise(0x1000),
                b"\x08\0\x03\0\x10\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x10\0".into(),
            ),
            (
                Command::PostcopyAdvise(PostcopyAdvise::Bitmaps),
                b"\x08\0\x03\0\0".into(),
            ),
            (Command::PostcopyListen, b"\x08\0\x04\0\0".into()),
            (Command::PostcopyRun, b"\x08\0\x05\0\0".into()),
            (
                Command::PostcopyRamDiscard(RamDiscard {
                    block: "pc.ram".into(),
                    ranges: vec![0..0x1000, 0x6000..0x7000, 0xe_8000..0xe_9000],
                }),
                b"\x08\0\x06\0\x39\0\x06pc.ram\0\
                  \0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\
                  \0\0\0\0\0\0\x60\0\0\0\0\0\0\0\x10\0\
                  \0\0\0\0\0\x0e\x80\0\0\0\0\0\0\0\x10\0"
                    .into(),
            ),
            (
                Command::Packaged(32_530),
                b"\x08\0\x07\0\x04\0\0\x7f\x12".into(),
            ),
            (Command::EnableColo, b"\x08\0\x08\0\0".into()),
            (Command::PostcopyResume, b"\x08\0\x09\0\0".into()),
            (
                Command::RecvBitmap("pc.ram".into()),
                b"\x08\0\x0a\0\x07\x06pc.ram".into(),
            ),
            (Command::SwitchoverStart, b"\x08\0\x0b\0\0".into()),
        ]
    }

    #[test]
    fn every_command_of_qemu_is_read_and_written_back() {
        for (command, bytes) in samples() {
            let mut source = SliceSource::new(&bytes[1..]);
            assert_eq!(Command::decode(&mut source).unwrap(), command);
            assert_eq!(source.rest(), b"");
            let mut again = Vec::new();
            command.encode(&mut again);
            assert_eq!(again, bytes);
        }
    }

    #[test]
    fn a_command_that_is_cut_anywhere_is_an_error() {
        for (command, bytes) in samples() {
            for end in 1..bytes.len() {
                let cut = Command::decode(&mut SliceSource::new(&bytes[1..end]));
                assert!(cut.is_err(), "{command:?} cut at {end}");
            }
        }
    }

    #[test]
    fn a_wrong_length_or_number_is_refused_as_qemu_refuses_it() {
        let error = |bytes: &[u8]| {
            Command::decode(&mut SliceSource::new(bytes))
                .unwrap_err()
                .to_string()
        };
        assert!(error(b"\0\x02\0\x02\0\0").contains("expected 4, found 2 in command 2"));
        assert!(error(b"\0\0\0\0").contains("expected a command from 1 to 11, found 0"));
        assert!(error(b"\0\x40\0\0").contains("found 64"));
        assert!(error(b"\0\x0a\0\x05\x06pc.ram").contains("expected 7, found 5"));
        assert!(error(b"\0\x06\0\x09\x01\x06pc.ram\0").contains("found version 1"));
        assert!(error(b"\0\x06\0\x09\0\x06pc.ram\x01").contains("found 01"));
        assert!(error(b"\0\x06\0\x09\0\x06pc.ram\0").contains("16 for each range"));
    }

    #[test]
    fn many_ranges_are_spread_over_commands() {
        let discard = RamDiscard {
            block: "pc.ram".into(),
            ranges: (0..30).map(|page| page * 4096..(page + 1) * 4096).collect(),
        };
        let lens: Vec<_> = discard
            .commands()
            .map(|command| match command {
                Command::PostcopyRamDiscard(part) => part.ranges.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lens, [12, 12, 6]);
    }
}
