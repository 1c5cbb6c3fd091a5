//! The byte stream as the codecs see it.

use crate::channel::{ReadChannel, WriteChannel};
use crate::error::{Error, FormatError};
use crate::save::Outgoing;
use crate::stream::{ErrorKind, Reader, Releaser, StreamError, Writer};
use crate::wire::{Sink, Source, limits};

impl<C: ReadChannel> Source for Reader<C> {
    type Error = Error;

    #[inline]
    fn take(&mut self, n: usize, what: &'static str) -> Result<&[u8], Error> {
        let at = self.position();
        let taken = match self.buffered().len() < n {
            true => ready(self, n).and_then(|()| self.get_ref(n)),
            false => self.get_ref(n),
        };
        taken.map_err(|error| short(error, at, what))
    }

    #[inline]
    fn peek(&mut self, n: usize) -> Result<&[u8], Error> {
        if self.buffered().len() < n {
            look_ahead(self, n)?;
        }
        Ok(self.peek_up_to(n)?)
    }

    fn peek_some(&mut self) -> Result<&[u8], Error> {
        if self.buffered().is_empty() {
            look_ahead(self, 1)?;
        }
        let there = self.buffered();
        Ok(&there[..there.len().min(limits::TAKE)])
    }

    fn skip(&mut self, n: u64, what: &'static str) -> Result<(), Error> {
        let at = self.position();
        let skipped = self.waiting(|reader| reader.skip(n));
        skipped.map_err(|error| match error.kind() {
            // As much of it as was there may be gone already.
            ErrorKind::UnexpectedEof { got, .. } => {
                let there = self.position().saturating_sub(at) + got as u64;
                FormatError::truncated(at, what, n, there).into()
            }
            _ => error.into(),
        })
    }

    fn skip_rest(&mut self) -> Result<u64, Error> {
        let start = self.position();
        // What was passed over before the channel was not ready stays so.
        self.waiting(|reader| reader.skip_rest().map(drop))?;
        Ok(self.position() - start)
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
        let array = match self.buffered().len() < N {
            true => ready(self, N).and_then(|()| self.get_array()),
            false => self.get_array(),
        };
        array.map_err(|error| short(error, at, what))
    }
}

// A decoder cannot be taken up again in its middle, so it waits where the channel is not ready, whatever the reader does
// for others. And it asks for as much as a codec may, so the window becomes as large as that.

/// Makes sure that `n` bytes are there.
#[cold]
fn ready<C: ReadChannel>(reader: &mut Reader<C>, n: usize) -> Result<(), StreamError> {
    make_room(reader, n);
    reader.waiting(|reader| reader.peek(n).map(drop))
}

/// Reads on until `n` bytes are there, or the end of the stream.
#[cold]
fn look_ahead<C: ReadChannel>(reader: &mut Reader<C>, n: usize) -> Result<(), StreamError> {
    make_room(reader, n);
    reader.waiting(|reader| reader.peek_up_to(n).map(drop))
}

fn make_room<C: ReadChannel>(reader: &mut Reader<C>, n: usize) {
    if n <= limits::TAKE {
        reader.widen_for(n, limits::TAKE);
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
    /// Waits where the channel is not ready: a writer of a format cannot be taken up again in its middle.
    fn flush(&mut self) -> Result<(), Error> {
        Ok(self.flush_waiting()?)
    }

    fn check(&self) -> Result<(), Error> {
        Ok(self.check()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{Bytes, File};
    use crate::wire::SliceSource;

    #[test]
    fn a_gap_beyond_the_end_is_told_alike_wherever_the_bytes_come_from() {
        const SAID: &str = "the stream ends inside a gap: at least 3145728 bytes expected, 199990 there, at offset 0xa";
        let bytes = vec![7; 200_000];
        assert_eq!(said(&mut SliceSource::new(&bytes)), SAID);
        assert_eq!(said(&mut Reader::new(Bytes::new(&bytes))), SAID);
    }

    #[test]
    fn the_rest_is_passed_over_alike_wherever_the_bytes_come_from() {
        let bytes = vec![7; 3_000_003];
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        assert_eq!(rest(&mut SliceSource::new(&bytes)), 2_999_993);
        assert_eq!(rest(&mut Reader::new(Bytes::new(&bytes))), 2_999_993);
        let file = File::from_offset(file, 0).unwrap();
        assert_eq!(rest(&mut Reader::new(file)), 2_999_993);
    }

    fn rest(source: &mut impl Source) -> u64 {
        source.take(10, "what comes before").expect("it is there");
        let rest = source.skip_rest().expect("it can be passed over");
        assert_eq!(source.position(), 10 + rest);
        assert_eq!(source.skip_rest().expect("it is at its end"), 0);
        rest
    }

    fn said(source: &mut impl Source) -> String {
        source.take(10, "what comes before").expect("it is there");
        let error = source.skip(3 << 20, "a gap");
        error.expect_err("there is no more").to_string()
    }
}
