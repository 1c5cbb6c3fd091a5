//! Numbers: a check and a load, where they have been read ahead.

use super::super::{ErrorKind, Result};
use super::Reader;
use crate::channel::ReadChannel;

impl<C: ReadChannel> Reader<C> {
    /// One byte.
    ///
    /// # Errors
    /// The stream ends, or has failed.
    #[inline]
    #[doc(alias = "qemu_get_byte")]
    pub fn get_u8(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.get_array()?))
    }

    /// A big-endian 16-bit number.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then nothing was taken.
    #[inline]
    #[doc(alias = "qemu_get_be16")]
    pub fn get_be16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.get_array()?))
    }

    /// A big-endian 32-bit number.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then nothing was taken.
    #[inline]
    #[doc(alias = "qemu_get_be32")]
    pub fn get_be32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.get_array()?))
    }

    /// A big-endian 64-bit number.
    ///
    /// # Errors
    /// The stream ends within it, or has failed; then nothing was taken.
    #[inline]
    #[doc(alias = "qemu_get_be64")]
    pub fn get_be64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.get_array()?))
    }

    /// The next `N` bytes by value.
    ///
    /// # Errors
    /// The stream ends within them, or has failed; then nothing was taken.
    #[inline]
    pub fn get_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        if let Some(array) = self.buffered().first_chunk::<N>() {
            let array = *array;
            self.start += N;
            return Ok(array);
        }
        self.get_array_slowly()
    }

    /// The stream for a loader that looks at the error once, at the end.
    pub fn lenient(&mut self) -> Lenient<'_, C> {
        Lenient { reader: self }
    }

    #[cold]
    #[inline(never)]
    fn get_array_slowly<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        if N > self.config.window {
            self.get_into(&mut array)?;
            return Ok(array);
        }
        self.demand(N)?;
        array.copy_from_slice(&self.window[self.start..self.start + N]);
        self.start += N;
        Ok(array)
    }
}

/// A [`Reader`] that gives zeros behind its first error, as loaders expect it that read many fields
/// and then [look](Reader::check) once whether all of them were there. It waits for a channel that
/// is not ready: a zero would not tell.
#[derive(Debug)]
pub struct Lenient<'r, C> {
    reader: &'r mut Reader<C>,
}

impl<C: ReadChannel> Lenient<'_, C> {
    /// One byte; 0 behind an error.
    #[inline]
    pub fn get_u8(&mut self) -> u8 {
        u8::from_be_bytes(self.get_array())
    }

    /// A big-endian 16-bit number; 0 behind an error.
    #[inline]
    pub fn get_be16(&mut self) -> u16 {
        u16::from_be_bytes(self.get_array())
    }

    /// A big-endian 32-bit number; 0 behind an error.
    #[inline]
    pub fn get_be32(&mut self) -> u32 {
        u32::from_be_bytes(self.get_array())
    }

    /// A big-endian 64-bit number; 0 behind an error.
    #[inline]
    pub fn get_be64(&mut self) -> u64 {
        u64::from_be_bytes(self.get_array())
    }

    /// The next `N` bytes; zeros behind an error.
    #[inline]
    pub fn get_array<const N: usize>(&mut self) -> [u8; N] {
        self.waiting(Reader::get_array).unwrap_or([0; N])
    }

    /// Fills `out`; with zeros behind an error.
    pub fn get_into(&mut self, out: &mut [u8]) {
        if self.waiting(|reader| reader.get_into(out)).is_err() {
            out.fill(0);
        }
    }

    /// Whether everything up to now was there.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn check(&self) -> Result<()> {
        self.reader.check()
    }

    #[inline]
    fn waiting<T>(&mut self, mut get: impl FnMut(&mut Reader<C>) -> Result<T>) -> Result<T> {
        loop {
            match get(self.reader) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.reader.wait(None)?,
                result => return result,
            }
        }
    }
}
