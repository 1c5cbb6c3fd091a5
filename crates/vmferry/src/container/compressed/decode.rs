//! What every codec does.

use std::io;

/// Gives what compressed data decompresses to, with all of its members.
pub(super) trait Decode: Send {
    /// As [`Read::read`](io::Read::read): 0 only at the end, and only if all data up to there is sound.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize>;

    /// Whether what is compressed could not be read since this was last asked.
    fn take_failure(&mut self) -> bool;
}
