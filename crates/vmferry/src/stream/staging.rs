//! A stream without a channel.

use std::io;

use super::release::Releaser;
use super::{ErrorKind, Result, StreamError, Writer};
use crate::channel::{RamSlice, WriteChannel};

/// A stream that is built in memory, grows as it has to, and is then put into another.
///
/// It is for what has to be whole before any of it is sent: a section whose length stands before
/// it, or what another thread has prepared.
#[derive(Debug, Clone, Default)]
pub struct Staging {
    /// Those behind `filled` are room that was used before: it is zeroed once, not for each record.
    buffer: Vec<u8>,
    filled: usize,
}

impl Staging {
    /// An empty stream with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            buffer: vec![0; bytes],
            filled: 0,
        }
    }

    /// One byte.
    #[inline]
    pub fn put_u8(&mut self, value: u8) {
        self.put_bytes(&[value]);
    }

    /// A big-endian 16-bit number.
    #[inline]
    pub fn put_be16(&mut self, value: u16) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// A big-endian 32-bit number.
    #[inline]
    pub fn put_be32(&mut self, value: u32) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// A big-endian 64-bit number.
    #[inline]
    pub fn put_be64(&mut self, value: u64) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// Bytes, copied.
    #[inline]
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.commit(bytes.len());
    }

    /// Guest memory, copied as it is now.
    pub fn put_ram_copied(&mut self, memory: RamSlice<'_>) {
        memory.copy_to(self.room(memory.len()));
        self.commit(memory.len());
    }

    /// A length byte, and as many bytes.
    ///
    /// # Errors
    /// There are more than 255 of them; nothing was put.
    pub fn put_counted(&mut self, bytes: &[u8]) -> Result<()> {
        let Ok(count) = u8::try_from(bytes.len()) else {
            let (len, max) = (bytes.len(), 255);
            let kind = ErrorKind::TooLong { len, max };
            return Err(StreamError::new(kind, self.filled as u64));
        };
        self.put_u8(count);
        self.put_bytes(bytes);
        Ok(())
    }

    /// What was put.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// How many bytes were put.
    #[inline]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was put.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Forgets what was put, and keeps the room.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Room for `n` more bytes.
    #[inline]
    pub(super) fn room(&mut self, n: usize) -> &mut [u8] {
        let end = self.filled + n;
        if end > self.buffer.len() {
            self.grow(end);
        }
        &mut self.buffer[self.filled..end]
    }

    /// The first `n` bytes of the room were written to.
    #[inline]
    pub(super) fn commit(&mut self, n: usize) {
        self.filled = self.buffer.len().min(self.filled + n);
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        self.buffer
            .resize(end.max(2 * self.buffer.len()).max(4 << 10), 0);
    }
}

impl io::Write for Staging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put_bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<C: WriteChannel, M: Releaser> Writer<'_, C, M> {
    /// Puts everything that `staging` holds, which is empty then, and tells how many bytes that
    /// were.
    ///
    /// # Errors
    /// This stream has failed, and `staging` still holds what it held.
    #[inline]
    #[doc(alias = "qemu_put_qemu_file")]
    pub fn put_staged(&mut self, staging: &mut Staging) -> Result<u64> {
        self.check()?;
        self.put_bytes(staging.as_bytes());
        self.check()?;
        let len = staging.len() as u64;
        staging.clear();
        Ok(len)
    }
}
