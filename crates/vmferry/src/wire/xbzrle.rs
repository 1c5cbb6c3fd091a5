//! XBZRLE: a page as its differences from the page as it was.
//!
//! ```text
//! record  = word(XBZRLE)  u8 1  u16 length  pair*
//! pair    = unchanged  changed
//! unchanged = ULEB128 n            skip n bytes
//! changed   = ULEB128 m, m bytes   they replace what is there
//! ```
//!
//! Numbers take one or two bytes, seven bits each, the low ones first. Only the first pair may skip
//! nothing, and nothing stands behind the last byte that changed. No difference at all is no pair.

use std::fmt;

use super::{FormatError, Sink, Source};

/// The byte that says how differences are encoded.
#[doc(alias = "ENCODING_FLAG_XBZRLE")]
pub const ENCODING: u8 = 0x01;

/// The largest page of which the differences can be told: a number has at most 14 bits.
pub const MAX_PAGE: usize = 1 << 14;

/// Why bytes are not the differences of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The offset of the pair that is wrong.
    pub at: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of the differences", self.why, self.at)
    }
}

impl std::error::Error for Invalid {}

/// Reads the record of a page of `page` bytes, behind its word, and checks the differences in it.
///
/// # Errors
/// They are not what QEMU takes, or the stream ends.
pub fn record<S: Source>(source: &mut S, page: usize) -> Result<&[u8], S::Error> {
    const WHAT: &str = "a page as its differences (XBZRLE)";
    let at = source.position();
    let encoding = source.u8(WHAT)?;
    if encoding != ENCODING {
        return Err(FormatError::unexpected(at, WHAT, "encoding 1", encoding).into());
    }
    let len = usize::from(source.be16(WHAT)?);
    if len > page {
        return Err(FormatError::too_long(at, WHAT, len as u64, page as u64).into());
    }
    let at = source.position();
    let differences = source.take(len, WHAT)?;
    check(differences, page).map_err(|invalid| {
        FormatError::unexpected(at, WHAT, "what QEMU takes", invalid.to_string())
    })?;
    Ok(differences)
}

/// Writes the record of a page behind its word; `differences` must be at most a page long.
pub fn put_record(differences: &[u8], sink: &mut impl Sink) {
    let len = u16::try_from(differences.len()).unwrap_or(u16::MAX);
    sink.put(&[ENCODING]);
    sink.put(&len.to_be_bytes());
    sink.put(differences);
}

/// One pair: where in the page the changed bytes stand, and what they are now.
type Change<'a> = (usize, &'a [u8]);

/// Reads one pair, which stands at `at`, behind `position` bytes of a page of `page` bytes.
fn change(encoded: &[u8], at: usize, position: usize, page: usize) -> Result<Change<'_>, Invalid> {
    let wrong = |why| Invalid { at, why };
    let rest = encoded.get(at..).unwrap_or_default();
    let (unchanged, rest) = number(rest).map_err(wrong)?;
    if unchanged == 0 && at > 0 {
        return Err(wrong("a run of no unchanged bytes"));
    }
    let (changed, rest) = number(rest).map_err(wrong)?;
    if changed == 0 {
        return Err(wrong("a run of no changed bytes"));
    }
    let begin = position.saturating_add(unchanged);
    if begin.saturating_add(changed) > page {
        return Err(wrong("a run beyond the end of the page"));
    }
    let bytes = rest.get(..changed);
    Ok((
        begin,
        bytes.ok_or_else(|| wrong("changed bytes that are not there"))?,
    ))
}

/// A number, of which at least one byte must be followed by another one.
fn number(bytes: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    match *bytes {
        [] | [_] => Err("half a pair"),
        [low, ref rest @ ..] if low < 0x80 => Ok((usize::from(low), rest)),
        [_, high, ..] if high >= 0x80 => Err("a number of more than two bytes"),
        [low, high, ref rest @ ..] => Ok((usize::from(low & 0x7f) | usize::from(high) << 7, rest)),
    }
}

/// Changes `page` as `encoded` says.
///
/// # Errors
/// It is not what QEMU takes; the page is changed up to the pair that is wrong. What is
/// [checked](check) first is changed whole or not at all.
#[doc(alias = "xbzrle_decode_buffer")]
pub fn decode(encoded: &[u8], page: &mut [u8]) -> Result<(), Invalid> {
    let len = page.len();
    each(encoded, len, |(begin, bytes)| {
        if let Some(room) = page
            .get_mut(begin..)
            .and_then(|page| page.get_mut(..bytes.len()))
        {
            room.copy_from_slice(bytes);
        }
    })
}

/// Whether `encoded` are differences of a page of `page` bytes.
///
/// # Errors
/// They are not what QEMU takes.
pub fn check(encoded: &[u8], page: usize) -> Result<(), Invalid> {
    each(encoded, page, |_| {})
}

#[inline]
fn each<'a>(
    encoded: &'a [u8],
    page: usize,
    mut visit: impl FnMut(Change<'a>),
) -> Result<(), Invalid> {
    if encoded.len() > page {
        let why = "more bytes than a page";
        return Err(Invalid { at: 0, why });
    }
    let (mut at, mut position) = (0, 0);
    while at < encoded.len() {
        let (begin, bytes) = change(encoded, at, position, page)?;
        visit((begin, bytes));
        position = begin.saturating_add(bytes.len());
        // It ends where its bytes end.
        at = (bytes.as_ptr() as usize)
            .wrapping_sub(encoded.as_ptr() as usize)
            .saturating_add(bytes.len());
    }
    Ok(())
}

/// What became of the attempt to tell a page by its differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoded {
    /// The pages are the same: nothing need be sent.
    Same,
    /// So many bytes of the output are the differences.
    Bytes(usize),
    /// The output has not room for them: the page itself is shorter.
    Overflow,
}

/// Writes the differences of `new` from `old`, pages of one length, to `out`; no longer than a page,
/// or QEMU refuses them.
#[doc(alias = "xbzrle_encode_buffer")]
pub fn encode(old: &[u8], new: &[u8], out: &mut [u8]) -> Encoded {
    if old.len() != new.len() || new.len() > MAX_PAGE {
        return Encoded::Overflow;
    }
    let limit = out.len().min(new.len());
    let out = out.get_mut(..limit).unwrap_or_default();
    let (mut position, mut filled) = (0, 0);
    loop {
        let rest = (tail(old, position), tail(new, position));
        let unchanged = same(rest.0, rest.1);
        let begin = position.saturating_add(unchanged);
        if begin == new.len() {
            break;
        }
        let changed = different(tail(old, begin), tail(new, begin));
        let bytes = new
            .get(begin..begin.saturating_add(changed))
            .unwrap_or_default();
        let mut room = Room {
            out: tail_mut(out, filled),
            used: 0,
        };
        if room
            .put_number(unchanged)
            .and_then(|()| room.put_number(changed))
            .and_then(|()| room.put(bytes))
            .is_none()
        {
            return Encoded::Overflow;
        }
        filled = filled.saturating_add(room.used);
        position = begin.saturating_add(changed);
    }
    if filled == 0 {
        Encoded::Same
    } else {
        Encoded::Bytes(filled)
    }
}

struct Room<'a> {
    out: &'a mut [u8],
    used: usize,
}

impl Room<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.used.checked_add(bytes.len())?;
        self.out.get_mut(self.used..end)?.copy_from_slice(bytes);
        self.used = end;
        Some(())
    }

    /// A number below 2^14.
    fn put_number(&mut self, n: usize) -> Option<()> {
        let (low, high) = (n.to_le_bytes()[0], (n >> 7).to_le_bytes()[0]);
        if n < 0x80 {
            self.put(&[low])
        } else {
            self.put(&[low | 0x80, high])
        }
    }
}

fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

fn tail_mut(bytes: &mut [u8], from: usize) -> &mut [u8] {
    bytes.get_mut(from..).unwrap_or_default()
}

/// How many bytes the two begin with that are the same.
fn same(a: &[u8], b: &[u8]) -> usize {
    // Most of a page is unchanged: wide steps first.
    const WIDE: usize = 64;
    let wide = a.chunks_exact(WIDE).zip(b.chunks_exact(WIDE));
    let from = wide
        .take_while(|(a, b)| a == b)
        .count()
        .saturating_mul(WIDE);
    let (a, b) = (tail(a, from), tail(b, from));
    let words = a.chunks_exact(8).zip(b.chunks_exact(8));
    let mut words_same = from;
    for (a, b) in words {
        let differ = word(a) ^ word(b);
        if differ != 0 {
            return words_same.saturating_add(differ.trailing_zeros() as usize / 8);
        }
        words_same = words_same.saturating_add(8);
    }
    let within = words_same.saturating_sub(from);
    let last = tail(a, within).iter().zip(tail(b, within));
    words_same.saturating_add(last.take_while(|(a, b)| a == b).count())
}

/// How many bytes the two begin with that differ, each from its counterpart.
fn different(a: &[u8], b: &[u8]) -> usize {
    let mut count: usize = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let differ = word(a) ^ word(b);
        if has_zero_byte(differ) {
            return count.saturating_add(first_zero_byte(differ));
        }
        count = count.saturating_add(8);
    }
    let last = tail(a, count).iter().zip(tail(b, count));
    count.saturating_add(last.take_while(|(a, b)| a != b).count())
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// The high bit of the lowest byte that is zero is set, and of none below it.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

#[inline]
fn has_zero_byte(word: u64) -> bool {
    zero_bytes(word) != 0
}

#[inline]
fn first_zero_byte(word: u64) -> usize {
    zero_bytes(word).trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests;
