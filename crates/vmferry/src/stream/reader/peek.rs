//! Looking ahead without taking anything.

use super::super::Result;
use super::Reader;
use crate::channel::ReadChannel;

impl<C: ReadChannel> Reader<C> {
    /// The `n` bytes that come next, without taking them; at most a window.
    ///
    /// # Errors
    /// The stream ends within them, or has failed, or they are more than a window.
    #[inline]
    #[doc(alias = "qemu_peek_buffer")]
    pub fn peek(&mut self, n: usize) -> Result<&[u8]> {
        self.peek_at(0, n)
    }

    /// The `n` bytes that come behind the next `offset`, without taking any; together at most a
    /// window.
    ///
    /// # Errors
    /// The stream ends within them, or has failed, or they are beyond a window.
    #[inline]
    #[doc(alias = "qemu_peek_buffer")]
    pub fn peek_at(&mut self, offset: usize, n: usize) -> Result<&[u8]> {
        if n == 0 {
            // Nothing is there wherever it is looked for.
            return Ok(&[]);
        }
        let ahead = offset.saturating_add(n);
        if self.end - self.start < ahead {
            self.demand(ahead)?;
        }
        Ok(&self.window[self.start + offset..self.start + ahead])
    }

    /// The byte after the next `offset`, without taking any.
    ///
    /// # Errors
    /// The stream ends before it, or has failed, or it is beyond a window.
    #[inline]
    #[doc(alias = "qemu_peek_byte")]
    pub fn peek_u8(&mut self, offset: usize) -> Result<u8> {
        if self.end - self.start <= offset {
            self.demand(offset.saturating_add(1))?;
        }
        Ok(self.window[self.start + offset])
    }

    /// Up to `n` bytes that come next, without taking them; fewer only at the end of the stream.
    ///
    /// # Errors
    /// The stream has failed, or `n` is more than a window.
    #[inline]
    #[doc(alias = "qemu_peek_buffer")]
    pub fn peek_up_to(&mut self, n: usize) -> Result<&[u8]> {
        if self.end - self.start < n {
            self.look_ahead(n)?;
        }
        let to = self.end.min(self.start + n);
        Ok(&self.window[self.start..to])
    }

    #[cold]
    fn look_ahead(&mut self, n: usize) -> Result<()> {
        self.usable()?;
        if n > self.config.window {
            return Err(self.too_long(n));
        }
        while self.end - self.start < n && !self.at_end {
            self.fetch(n)?;
        }
        Ok(())
    }
}
