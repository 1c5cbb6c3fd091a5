//! What the parts of a pass read from.

use crate::error::Error;
use crate::wire;

/// A [`wire::Source`] with the errors that a pass ends with.
pub(super) trait Source: wire::Source<Error = Error> {}

impl<S: wire::Source<Error = Error>> Source for S {}

/// A source of any kind, with those errors.
#[derive(Debug)]
pub(super) struct Input<S>(pub(super) S);

impl<'a> Input<wire::SliceSource<'a>> {
    /// What has not been taken yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0.rest()
    }
}

/// Forwards everything, also what has a default.
#[deny(clippy::missing_trait_methods)]
impl<S: wire::Source<Error: Into<Error>>> wire::Source for Input<S> {
    type Error = Error;

    #[inline]
    fn take(&mut self, n: usize, what: &'static str) -> Result<&[u8], Error> {
        self.0.take(n, what).map_err(Into::into)
    }

    #[inline]
    fn peek(&mut self, n: usize) -> Result<&[u8], Error> {
        self.0.peek(n).map_err(Into::into)
    }

    #[inline]
    fn peek_u8(&mut self) -> Result<Option<u8>, Error> {
        self.0.peek_u8().map_err(Into::into)
    }

    fn peek_some(&mut self) -> Result<&[u8], Error> {
        self.0.peek_some().map_err(Into::into)
    }

    fn skip(&mut self, n: u64, what: &'static str) -> Result<(), Error> {
        self.0.skip(n, what).map_err(Into::into)
    }

    fn skip_rest(&mut self) -> Result<u64, Error> {
        self.0.skip_rest().map_err(Into::into)
    }

    #[inline]
    fn position(&self) -> u64 {
        self.0.position()
    }

    fn expect_end(&mut self) {
        self.0.expect_end();
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        self.0.array(what).map_err(Into::into)
    }

    #[inline]
    fn u8(&mut self, what: &'static str) -> Result<u8, Error> {
        self.0.u8(what).map_err(Into::into)
    }

    #[inline]
    fn be16(&mut self, what: &'static str) -> Result<u16, Error> {
        self.0.be16(what).map_err(Into::into)
    }

    #[inline]
    fn be32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.0.be32(what).map_err(Into::into)
    }

    #[inline]
    fn be64(&mut self, what: &'static str) -> Result<u64, Error> {
        self.0.be64(what).map_err(Into::into)
    }

    fn name(&mut self, what: &'static str) -> Result<&str, Error> {
        self.0.name(what).map_err(Into::into)
    }
}
