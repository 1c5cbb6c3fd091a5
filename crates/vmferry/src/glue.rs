//! The byte stream as the codecs see it.

use crate::channel::{ReadChannel, WriteChannel};
use crate::error::{Error, FormatError};
use crate::save::Outgoing;
use crate::stream::{ErrorKind, Reader, Releaser, StreamError, Writer};
use crate::wire::{Sink, Source, limits};

impl<C: ReadChannel> Source for Reader<C> {
    #[inline]
    fn take(&mut self, n: usize, what: &'static str) -> Result<&[u8], Error> {
        let at = self.position();
        self.get_ref(n).map_err(|error| short(error, at, what))
    }

    #[inline]
    fn peek(&mut self, n: usize) -> Result<&[u8], Error> {
        Ok(self.peek_up_to(n)?)
    }

    fn peek_some(&mut self) -> Result<&[u8], Error> {
        self.peek_up_to(1)?;
        let there = self.buffered();
        Ok(&there[..there.len().min(limits::TAKE)])
    }

    fn skip(&mut self, n: u64, what: &'static str) -> Result<(), Error> {
        let at = self.position();
        self.skip(n).map_err(|error| short(error, at, what))
    }

    #[inline]
    fn position(&self) -> u64 {
        self.position()
    }

    fn expect_end(&mut self) {
        self.channel_mut().expect_end();
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let at = self.position();
        self.get_array().map_err(|error| short(error, at, what))
    }
}

/// The end of the stream within something is what is wrong with the stream, not with its channel.
#[cold]
fn short(error: StreamError, at: u64, what: &'static str) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof { wanted, got } => {
            FormatError::truncated(at, what, wanted as u64, got as u64).into()
        }
        _ => error.into(),
    }
}

impl<C: WriteChannel, M: Releaser> Sink for Writer<'_, C, M> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.put_bytes(bytes);
    }
}

impl<C: WriteChannel, M: Releaser> Outgoing for Writer<'_, C, M> {
    fn flush(&mut self) -> Result<(), Error> {
        Ok(self.flush()?)
    }

    fn check(&self) -> Result<(), Error> {
        Ok(self.check()?)
    }
}
