//! Codecs whose libraries read one member: what may follow it is here.

use std::io::{self, Read};
use std::mem;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::{LzmaReader, XzReader};

use super::decode::Decode;
use super::input::Input;
use crate::container::Findings;
use crate::error::Damage;

/// Memory for the dictionary of an xz stream, in KiB: that of `xz -9` is 64 MiB.
const XZ_MEMORY_KIB: u32 = 256 << 10;

/// Bytes of the header of the old format of `xz`.
pub(super) const LZMA_HEADER: usize = 13;

const XZ: &[u8] = b"\xfd7zXZ\0";

/// Whether `head` is the header of a `.lzma` file. It has no magic: these are the settings that every encoder uses, a
/// dictionary that `xz` would take, and a length that is not known or below 256 GiB.
pub(super) fn begins_lzma(head: &[u8]) -> bool {
    let Some(header) = head.first_chunk::<LZMA_HEADER>() else {
        return false;
    };
    let [0x5d, d0, d1, d2, d3, len @ ..] = *header else {
        return false;
    };
    let dictionary = u32::from_le_bytes([d0, d1, d2, d3]);
    let highest = 1 << (31 - dictionary.max(1).leading_zeros());
    let is_usual = dictionary >= 4096 && [0, highest / 2].contains(&(dictionary - highest));
    let len = u64::from_le_bytes(len);
    (is_usual || dictionary == u32::MAX) && (len == u64::MAX || len < 1 << 38)
}

/// Members that may be small: to begin one takes far longer than to read a few bytes of it.
const SMALL_MEMBERS: u64 = 1 << 14;

/// Bytes that members have on average where there are more of them.
const MEMBER_LEN: u64 = 256;

/// What comes after a member.
enum Next {
    Member,
    End,
}

/// Members, one after the other.
pub(super) struct Members {
    member: Member,
    /// How many were begun.
    count: u64,
    findings: Findings,
}

enum Member {
    Gzip(Box<GzDecoder<Input>>),
    Bzip2(Box<BzDecoder<Input>>),
    Xz(Box<XzReader<Input>>),
    Lzma(Box<LzmaReader<Input>>),
    Ended(Input),
}

impl Members {
    fn beginning(member: Member, findings: Findings) -> Self {
        Self {
            member,
            count: 1,
            findings,
        }
    }

    pub(super) fn gzip(input: Input, findings: Findings) -> Self {
        let member = Member::Gzip(Box::new(GzDecoder::new(input)));
        Self::beginning(member, findings)
    }

    pub(super) fn bzip2(input: Input, findings: Findings) -> Self {
        let member = Member::Bzip2(Box::new(BzDecoder::new(input)));
        Self::beginning(member, findings)
    }

    /// Either format of `xz`.
    pub(super) fn xz(mut input: Input, findings: Findings) -> io::Result<Self> {
        let member = match begins_lzma(input.peek(LZMA_HEADER)?) {
            true => {
                let reader = LzmaReader::new_mem_limit(input, XZ_MEMORY_KIB, None);
                let mut reader = reader.map_err(|error| {
                    let damage = Damage::in_decompressed("xz", 0, &error.to_string());
                    io::Error::new(io::ErrorKind::InvalidData, damage)
                })?;
                reader.set_relaxed_end_condition(false);
                Member::Lzma(Box::new(reader))
            }
            false => Member::xz(input),
        };
        Ok(Self::beginning(member, findings))
    }

    /// Looks at what comes after a member, and begins the next one.
    fn advance(&mut self) -> io::Result<Next> {
        let member = mem::replace(&mut self.member, Member::Ended(Input::empty()));
        let (next, input) = match member {
            Member::Gzip(decoder) => {
                let mut input = decoder.into_inner();
                let next = after_gzip(&mut input, &self.findings);
                (next, input)
            }
            Member::Bzip2(decoder) => {
                let mut input = decoder.into_inner();
                let next = after_bzip2(&mut input, &self.findings);
                (next, input)
            }
            Member::Xz(reader) => {
                let mut input = reader.into_inner();
                let next = after_xz(&mut input);
                (next, input)
            }
            Member::Lzma(reader) => {
                let (mut input, left) = reader.into_parts();
                let next = after_lzma(&mut input, &left);
                (next, input)
            }
            Member::Ended(input) => (Ok((Next::End, Member::ended as _)), input),
        };
        match next {
            Ok((Next::Member, _))
                if self.count >= SMALL_MEMBERS && input.taken / self.count < MEMBER_LEN =>
            {
                self.member = Member::Ended(input);
                let what = format!(
                    "more than {SMALL_MEMBERS} members of less than {MEMBER_LEN} bytes are not read"
                );
                Err(io::Error::other(what))
            }
            Ok((next, begin)) => {
                self.count += 1;
                self.member = begin(input);
                Ok(next)
            }
            Err(error) => {
                self.member = Member::Ended(input);
                Err(error)
            }
        }
    }
}

impl Member {
    fn gzip(input: Input) -> Self {
        Self::Gzip(Box::new(GzDecoder::new(input)))
    }

    fn bzip2(input: Input) -> Self {
        Self::Bzip2(Box::new(BzDecoder::new(input)))
    }

    fn xz(input: Input) -> Self {
        Self::Xz(Box::new(XzReader::new_mem_limit(
            input,
            false,
            XZ_MEMORY_KIB,
        )))
    }

    fn ended(input: Input) -> Self {
        Self::Ended(input)
    }
}

impl Decode for Members {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.member {
                Member::Gzip(decoder) => decoder.read(room),
                Member::Bzip2(decoder) => decoder.read(room),
                Member::Xz(reader) => reader.read(room),
                Member::Lzma(reader) => reader.read(room),
                Member::Ended(_) => return Ok(0),
            }?;
            if read > 0 {
                return Ok(read);
            }
            if let Next::End = self.advance()? {
                return Ok(0);
            }
        }
    }

    fn take_failure(&mut self) -> bool {
        let input = match &mut self.member {
            Member::Gzip(decoder) => decoder.get_mut(),
            Member::Bzip2(decoder) => decoder.get_mut(),
            Member::Xz(reader) => reader.inner_mut(),
            Member::Lzma(reader) => reader.inner_mut(),
            Member::Ended(input) => input,
        };
        mem::take(&mut input.has_failed)
    }
}

/// What comes next, and how it is read.
type After = io::Result<(Next, fn(Input) -> Member)>;

const END: (Next, fn(Input) -> Member) = (Next::End, Member::ended);

fn after_gzip(input: &mut Input, findings: &Findings) -> After {
    match input.peek(2)? {
        b"\x1f\x8b" => return Ok((Next::Member, Member::gzip)),
        // The program takes it for the beginning of a magic.
        [1..=u8::MAX] => return Err(io::ErrorKind::UnexpectedEof.into()),
        _ => {}
    }
    input.skip_zeros()?;
    if !input.peek(1)?.is_empty() {
        findings.note("bytes after the end of the gzip data are passed over, as gzip does");
    }
    Ok(END)
}

fn after_bzip2(input: &mut Input, findings: &Findings) -> After {
    const MAGIC: &[u8] = b"BZh";
    match input.peek(4)? {
        [] => Ok(END),
        [head @ .., b'1'..=b'9'] if head == MAGIC => Ok((Next::Member, Member::bzip2)),
        // The program does not look whether more would follow.
        cut if MAGIC.starts_with(cut) => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => {
            findings.note("bytes after the end of the bzip2 data are passed over, as bzip2 does");
            Ok(END)
        }
    }
}

fn after_xz(input: &mut Input) -> After {
    let padding = input.skip_zeros()?;
    let next = input.peek(XZ.len())?;
    if padding % 4 == 0 && next == XZ {
        Ok((Next::Member, Member::xz))
    } else if !next.is_empty() {
        match XZ.starts_with(next) {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Err(io::Error::other("other bytes follow its end")),
        }
    } else if padding % 4 == 0 {
        Ok(END)
    } else {
        let what = "the zeros after its end are not a multiple of 4";
        Err(io::Error::other(what))
    }
}

fn after_lzma(input: &mut Input, left: &[u8]) -> After {
    match left.is_empty() && input.peek(1)?.is_empty() {
        true => Ok(END),
        false => Err(io::Error::other("other bytes follow its end")),
    }
}
