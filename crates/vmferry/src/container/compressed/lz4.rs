//! lz4's frames, those of its first versions among them.

use std::io::{self, Read};
use std::mem;

use lz4_flex::block::decompress_into;
use lz4_flex::frame::FrameDecoder;

use super::decode::Decode;
use super::input::Input;
use super::{SKIPPABLE_HEAD, skippable};

/// What a frame begins with.
pub(super) const FRAME: [u8; 4] = *b"\x04\x22\x4d\x18";

/// What a legacy frame begins with.
pub(super) const LEGACY: [u8; 4] = *b"\x02\x21\x4c\x18";

/// The most that a block of a legacy frame holds.
const LEGACY_BLOCK: usize = 8 << 20;

/// The most that such a block takes when it is compressed; a larger length is the magic of what comes next.
const LEGACY_COMPRESSED: usize = LEGACY_BLOCK + LEGACY_BLOCK / 255 + 16;

pub(super) struct Lz4 {
    /// Also has the input.
    frames: FrameDecoder<Input>,
    /// The block of a legacy frame that is given out, and how far.
    block: Vec<u8>,
    given: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Frame,
    Legacy,
    Ended,
}

impl Lz4 {
    pub(super) fn new(input: Input) -> Self {
        Self {
            frames: FrameDecoder::new(input),
            block: Vec::new(),
            given: 0,
            state: State::Between,
        }
    }

    /// What comes after a frame, or first.
    fn next(&mut self) -> io::Result<State> {
        let input = self.frames.get_mut();
        loop {
            let head = input.peek(SKIPPABLE_HEAD)?;
            match head.first_chunk::<4>() {
                None if head.is_empty() => return Ok(State::Ended),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(&FRAME) => {
                    input.has_ended = false;
                    return Ok(State::Frame);
                }
                Some(&LEGACY) => {
                    input.skip(LEGACY.len() as u64)?;
                    return Ok(State::Legacy);
                }
                Some(_) => {}
            }
            let Some(len) = skippable(head) else {
                return Err(io::Error::other("what follows a frame is none"));
            };
            let len = SKIPPABLE_HEAD as u64 + u64::from(len);
            if input.skip(len)? < len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn frame(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.frames.read(room)?;
        // The library takes the end of its input for the end of a frame.
        if read == 0 && mem::take(&mut self.frames.get_mut().has_ended) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }

    fn legacy(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.given == self.block.len() {
            self.given = 0;
            self.block.clear();
            let input = self.frames.get_mut();
            let len = match input.peek(4)? {
                [] => return Ok(0),
                head => match head.first_chunk() {
                    Some(len) => u32::from_le_bytes(*len) as usize,
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                },
            };
            if len > LEGACY_COMPRESSED {
                return Ok(0);
            }
            input.skip(4)?;
            let mut compressed = Vec::new();
            input.take(len as u64).read_to_end(&mut compressed)?;
            if compressed.len() < len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.block.resize(LEGACY_BLOCK, 0);
            let len = decompress_into(&compressed, &mut self.block).map_err(io::Error::other);
            self.block.truncate(*len.as_ref().unwrap_or(&0));
            len?;
        }
        let there = self.block.get(self.given..).unwrap_or_default();
        let len = there.len().min(room.len());
        if let (Some(room), Some(there)) = (room.get_mut(..len), there.get(..len)) {
            room.copy_from_slice(there);
        }
        self.given += len;
        Ok(len)
    }
}

impl Decode for Lz4 {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self.state {
                State::Ended => return Ok(0),
                State::Between => {
                    self.state = self.next()?;
                    continue;
                }
                State::Frame => self.frame(room)?,
                State::Legacy => self.legacy(room)?,
            };
            if read > 0 {
                return Ok(read);
            }
            self.state = State::Between;
        }
    }

    fn take_failure(&mut self) -> bool {
        mem::take(&mut self.frames.get_mut().has_failed)
    }
}
