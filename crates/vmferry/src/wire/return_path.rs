//! Return-path messages: what the destination tells the source.
//!
//! ```text
//! u16 type  u16 length  payload
//! ```
//!
//! They travel on the reverse direction of the main channel, from OPEN_RETURN_PATH on. A RECV_BITMAP
//! is followed by its bitmap, outside its length.

use super::{FormatError, Sink, Source, limits};

/// A message with its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// The last message: 0 says that the guest arrived, anything else that it did not.
    #[doc(alias = "MIG_RP_MSG_SHUT")]
    Shut(u32),
    /// The answer to a PING, with its value.
    #[doc(alias = "MIG_RP_MSG_PONG")]
    Pong(u32),
    /// The guest waits for pages.
    #[doc(alias = "MIG_RP_MSG_REQ_PAGES_ID")]
    #[doc(alias = "MIG_RP_MSG_REQ_PAGES")]
    ReqPages {
        /// The RAM block, or that of the request before.
        block: Option<String>,
        /// First byte within the block, on a host-page boundary.
        start: u64,
        /// How many bytes: one host page.
        length: u32,
    },
    /// The received pages of this block follow as a bitmap: see [`decode_bitmap`].
    #[doc(alias = "MIG_RP_MSG_RECV_BITMAP")]
    RecvBitmap(String),
    /// The destination goes on after a break.
    #[doc(alias = "MIG_RP_MSG_RESUME_ACK")]
    ResumeAck(u32),
    /// All devices are ready for the switchover (QEMU 8.1 and later).
    #[doc(alias = "MIG_RP_MSG_SWITCHOVER_ACK")]
    SwitchoverAck,
}

const SHUT: u16 = 1;
const PONG: u16 = 2;
const REQ_PAGES_ID: u16 = 3;
const REQ_PAGES: u16 = 4;
const RECV_BITMAP: u16 = 5;
const RESUME_ACK: u16 = 6;
const SWITCHOVER_ACK: u16 = 7;

/// What ends the bitmap of a RECV_BITMAP message.
#[doc(alias = "RAMBLOCK_RECV_BITMAP_ENDING")]
pub const BITMAP_END: u64 = 0x0123_4567_89ab_cdef;

const WHAT: &str = "a return-path message";

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// The stream ends inside it, it is unknown, or its length is not that of its kind.
    pub fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        let at = source.position();
        let number = source.be16(WHAT)?;
        let len_at = source.position();
        let len = source.be16(WHAT)?;
        if len > limits::RETURN_PATH {
            let limit = limits::RETURN_PATH.into();
            return Err(FormatError::too_long(len_at, WHAT, len.into(), limit).into());
        }
        let fixed = |expected: usize| {
            if usize::from(len) == expected {
                return Ok(());
            }
            let what = "the length of a return-path message";
            let found = format!("{len} in message {number}");
            Err(FormatError::unexpected(
                len_at,
                what,
                expected.to_string(),
                found,
            ))
        };
        Ok(match number {
            SHUT => {
                fixed(4)?;
                Self::Shut(source.be32(WHAT)?)
            }
            PONG => {
                fixed(4)?;
                Self::Pong(source.be32(WHAT)?)
            }
            REQ_PAGES_ID | REQ_PAGES => {
                let start = source.be64(WHAT)?;
                let length = source.be32(WHAT)?;
                let block = if number == REQ_PAGES_ID {
                    Some(source.name("the RAM block of a page request")?.to_owned())
                } else {
                    None
                };
                fixed(block.as_deref().map_or(0, name_len).saturating_add(12))?;
                Self::ReqPages {
                    block,
                    start,
                    length,
                }
            }
            RECV_BITMAP => {
                let block = source
                    .name("the RAM block of a received bitmap")?
                    .to_owned();
                fixed(name_len(&block))?;
                Self::RecvBitmap(block)
            }
            RESUME_ACK => {
                fixed(4)?;
                Self::ResumeAck(source.be32(WHAT)?)
            }
            SWITCHOVER_ACK => fixed(0).map(|()| Self::SwitchoverAck)?,
            other => {
                let expected = "a message from 1 to 7";
                return Err(FormatError::unexpected(at, WHAT, expected, other).into());
            }
        })
    }

    /// Writes the message.
    pub fn encode(&self, sink: &mut impl Sink) {
        let mut payload = Vec::new();
        let number = match self {
            Self::Shut(value) => {
                payload.put(&value.to_be_bytes());
                SHUT
            }
            Self::Pong(value) => {
                payload.put(&value.to_be_bytes());
                PONG
            }
            Self::ReqPages {
                block,
                start,
                length,
            } => {
                payload.put(&start.to_be_bytes());
                payload.put(&length.to_be_bytes());
                match block {
                    Some(block) => {
                        payload.put_name(block);
                        REQ_PAGES_ID
                    }
                    None => REQ_PAGES,
                }
            }
            Self::RecvBitmap(block) => {
                payload.put_name(block);
                RECV_BITMAP
            }
            Self::ResumeAck(value) => {
                payload.put(&value.to_be_bytes());
                RESUME_ACK
            }
            Self::SwitchoverAck => SWITCHOVER_ACK,
        };
        sink.put(&number.to_be_bytes());
        sink.put(
            &u16::try_from(payload.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        sink.put(&payload);
    }
}

fn name_len(name: &str) -> usize {
    name.len().saturating_add(1)
}

/// Bytes of the bitmap that a destination sends for a block of this many pages.
pub fn bitmap_len(pages: u64) -> u64 {
    pages.div_ceil(64).saturating_mul(8)
}

/// Reads the bitmap behind a RECV_BITMAP message for a block of `pages` pages: bit `i % 8` (least
/// significant first) of byte `i / 8` says whether page `i` has been received.
///
/// # Errors
/// The stream ends inside it, or it is not of the size that the block's pages need.
pub fn decode_bitmap<S: Source>(source: &mut S, pages: u64) -> Result<Vec<u8>, S::Error> {
    const WHAT: &str = "a received bitmap";
    let at = source.position();
    let len = source.be64(WHAT)?;
    let expected = bitmap_len(pages);
    if len != expected {
        let expected = format!("{expected} bytes for {pages} pages");
        return Err(FormatError::unexpected(at, WHAT, expected, len).into());
    }
    let mut bitmap = Vec::new();
    let mut left = len;
    while left > 0 {
        let piece = left.min(limits::TAKE as u64);
        // At most TAKE, which is a usize.
        bitmap
            .extend_from_slice(source.take(usize::try_from(piece).unwrap_or(limits::TAKE), WHAT)?);
        left = left.saturating_sub(piece);
    }
    let at = source.position();
    let end = source.be64(WHAT)?;
    if end != BITMAP_END {
        let expected = format!("{BITMAP_END:016x} at its end");
        return Err(FormatError::unexpected(at, WHAT, expected, format_args!("{end:016x}")).into());
    }
    Ok(bitmap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    fn samples() -> Vec<(Message, &'static [u8])> {
        let request = |block: Option<&str>, start| Message::ReqPages {
            block: block.map(str::to_owned),
            start,
            length: 4096,
        };
        // The bytes are those that QEMU 10.0.2 sends.
        vec![
            (Message::Shut(0), b"\0\x01\0\x04\0\0\0\0"),
            (Message::Pong(1), b"\0\x02\0\x04\0\0\0\x01"),
            (
                request(Some("pc.ram"), 0),
                b"\0\x03\0\x13\0\0\0\0\0\0\0\0\0\0\x10\0\x06pc.ram",
            ),
            (
                request(None, 0x6000),
                b"\0\x04\0\x0c\0\0\0\0\0\0\x60\0\0\0\x10\0",
            ),
            (
                Message::RecvBitmap("pc.ram".into()),
                b"\0\x05\0\x07\x06pc.ram",
            ),
            (Message::ResumeAck(1), b"\0\x06\0\x04\0\0\0\x01"),
            (Message::SwitchoverAck, b"\0\x07\0\0"),
        ]
    }

    #[test]
    fn every_message_of_qemu_is_read_and_written_back() {
        for (message, bytes) in samples() {
            let mut source = SliceSource::new(bytes);
            assert_eq!(Message::decode(&mut source).unwrap(), message);
            assert_eq!(source.rest(), b"");
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(again, bytes);
        }
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_an_error() {
        for (message, bytes) in samples() {
            for end in 0..bytes.len() {
                let cut = Message::decode(&mut SliceSource::new(&bytes[..end]));
                assert!(cut.is_err(), "{message:?} cut at {end}");
            }
        }
    }

    #[test]
    fn unknown_types_and_wrong_lengths_are_refused() {
        let error = |bytes: &[u8]| {
            Message::decode(&mut SliceSource::new(bytes))
                .unwrap_err()
                .to_string()
        };
        assert!(error(b"\0\0\0\0").contains("found 0"));
        assert!(error(b"\0\x08\0\0").contains("found 8"));
        assert!(error(b"\0\x02\x02\x01").contains("a length of 513, the limit is 512"));
        assert!(error(b"\0\x02\0\x05\0\0\0\0\0").contains("expected 4, found 5"));
    }

    #[test]
    fn a_bitmap_must_have_the_size_of_its_block_and_its_end_mark() {
        let mut bytes = 8_u64.to_be_bytes().to_vec();
        bytes.extend([0b101, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(BITMAP_END.to_be_bytes());
        assert_eq!(
            decode_bitmap(&mut SliceSource::new(&bytes), 64).unwrap()[0],
            0b101
        );
        assert!(decode_bitmap(&mut SliceSource::new(&bytes), 65).is_err());
        for end in 0..bytes.len() {
            assert!(decode_bitmap(&mut SliceSource::new(&bytes[..end]), 64).is_err());
        }
        bytes[20] ^= 1;
        assert!(decode_bitmap(&mut SliceSource::new(&bytes), 64).is_err());
    }
}
