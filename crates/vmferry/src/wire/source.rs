//! Where a decoder's bytes come from, and where an encoder's go.

use super::FormatError;

/// Bytes of a stream in order, with their position: a slice here, a
/// [`stream::Reader`](crate::stream::Reader) in real life.
pub trait Source {
    /// Why no more can be read: the bytes are wrong, or there is trouble with where they come from.
    type Error: From<FormatError> + std::error::Error + Send + Sync + 'static;

    /// The next `n` bytes (at most [`limits::TAKE`](super::limits::TAKE)), all or nothing. `what`
    /// names the thing being read, for the error.
    ///
    /// # Errors
    /// The stream ends within the `n` bytes, or cannot be read.
    fn take(&mut self, n: usize, what: &'static str) -> Result<&[u8], Self::Error>;

    /// Up to `n` bytes (at most [`limits::TAKE`](super::limits::TAKE)) that come next, without
    /// taking them; fewer only at the end of the stream.
    ///
    /// # Errors
    /// The stream cannot be read.
    fn peek(&mut self, n: usize) -> Result<&[u8], Self::Error>;

    /// The next byte, without taking it; `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream cannot be read.
    #[inline]
    fn peek_u8(&mut self) -> Result<Option<u8>, Self::Error> {
        Ok(self.peek(1)?.first().copied())
    }

    /// Whatever is there next, without taking it: at least one byte, unless the stream ends here, and
    /// at most [`limits::TAKE`](super::limits::TAKE). Does not look for more than that, which may
    /// not come.
    ///
    /// # Errors
    /// The stream cannot be read.
    fn peek_some(&mut self) -> Result<&[u8], Self::Error>;

    /// Goes over the next `n` bytes, however many. `what` names them, for the error. A source that has
    /// places does not read them.
    ///
    /// # Errors
    /// The stream ends within them, or cannot be read.
    fn skip(&mut self, mut n: u64, what: &'static str) -> Result<(), Self::Error> {
        while n > 0 {
            let piece =
                usize::try_from(n).map_or(super::limits::TAKE, |n| n.min(super::limits::TAKE));
            self.take(piece, what)?;
            n = n.saturating_sub(piece as u64);
        }
        Ok(())
    }

    /// Goes over everything up to the end, and returns how many bytes that is. A seekable source does not read
    /// them.
    ///
    /// # Errors
    /// The stream cannot be read.
    fn skip_rest(&mut self) -> Result<u64, Self::Error> {
        let start = self.position();
        loop {
            let there = self.peek_some()?.len();
            if there == 0 {
                return Ok(self.position().saturating_sub(start));
            }
            self.take(there, "what comes after the end")?;
        }
    }

    /// Offset in bytes, from the start of the stream, of the next byte.
    fn position(&self) -> u64;

    /// The format says that the stream may end here. A source whose end can be forged believes it
    /// only now.
    fn expect_end(&mut self) {}

    /// The next `N` bytes by value.
    ///
    /// # Errors
    /// As for [`Source::take`].
    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Self::Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// As for [`Source::take`].
    #[inline]
    fn u8(&mut self, what: &'static str) -> Result<u8, Self::Error> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    /// A big-endian 16-bit number.
    ///
    /// # Errors
    /// As for [`Source::take`].
    #[inline]
    fn be16(&mut self, what: &'static str) -> Result<u16, Self::Error> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// A big-endian 32-bit number.
    ///
    /// # Errors
    /// As for [`Source::take`].
    #[inline]
    fn be32(&mut self, what: &'static str) -> Result<u32, Self::Error> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// A big-endian 64-bit number.
    ///
    /// # Errors
    /// As for [`Source::take`].
    #[inline]
    fn be64(&mut self, what: &'static str) -> Result<u64, Self::Error> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// A name: one length byte, which is not zero, and as many bytes of UTF-8 without NUL.
    ///
    /// # Errors
    /// The stream ends, or the bytes are no name.
    fn name(&mut self, what: &'static str) -> Result<&str, Self::Error> {
        let at = self.position();
        let len = usize::from(self.u8(what)?);
        let bytes = self.take(len, what)?;
        match std::str::from_utf8(bytes) {
            Ok(name) if !name.is_empty() && !name.contains('\0') => Ok(name),
            _ => Err(FormatError::unexpected(
                at,
                what,
                "1 to 255 bytes of UTF-8 text",
                format_args!("{:?}", String::from_utf8_lossy(bytes)),
            )
            .into()),
        }
    }
}

/// A [`Source`] over bytes that are all there.
#[derive(Debug, Clone)]
pub struct SliceSource<'a> {
    rest: &'a [u8],
    position: u64,
}

impl<'a> SliceSource<'a> {
    /// The bytes of a stream from its start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Bytes that stand at offset `position` of their stream.
    pub fn at(bytes: &'a [u8], position: u64) -> Self {
        Self {
            rest: bytes,
            position,
        }
    }

    /// What has not been taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes, however many, for as long as the slice lives.
    ///
    /// # Errors
    /// The slice ends within them.
    pub fn take_slice(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], FormatError> {
        let Some((taken, rest)) = self.rest.split_at_checked(n) else {
            let got = self.rest.len() as u64;
            return Err(FormatError::truncated(self.position, what, n as u64, got));
        };
        self.rest = rest;
        self.position = self.position.saturating_add(n as u64);
        Ok(taken)
    }
}

impl Source for SliceSource<'_> {
    type Error = FormatError;

    #[inline]
    fn take(&mut self, n: usize, what: &'static str) -> Result<&[u8], FormatError> {
        self.take_slice(n, what)
    }

    #[inline]
    fn peek(&mut self, n: usize) -> Result<&[u8], FormatError> {
        Ok(self.rest.get(..n).unwrap_or(self.rest))
    }

    fn peek_some(&mut self) -> Result<&[u8], FormatError> {
        self.peek(super::limits::TAKE)
    }

    fn skip(&mut self, n: u64, what: &'static str) -> Result<(), FormatError> {
        match usize::try_from(n).ok().filter(|n| *n <= self.rest.len()) {
            Some(n) => self.take_slice(n, what).map(drop),
            None => {
                let there = self.rest.len() as u64;
                Err(FormatError::truncated(self.position, what, n, there))
            }
        }
    }

    #[inline]
    fn position(&self) -> u64 {
        self.position
    }
}

/// Where encoded bytes go: a vector, or a [`stream::Writer`](crate::stream::Writer).
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Appends a name with its length byte in front. Names come from blocks and sections that were
    /// parsed or checked; one of more than 255 bytes is cut there.
    fn put_name(&mut self, name: &str) {
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        self.put(&[len]);
        self.put(name.as_bytes().get(..usize::from(len)).unwrap_or_default());
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        /// Forwards everything, also what has a default.
        #[deny(clippy::missing_trait_methods)]
        impl<T: Source> Source for $pointer {
            type Error = T::Error;

            #[inline]
            fn take(&mut self, n: usize, what: &'static str) -> Result<&[u8], T::Error> {
                (**self).take(n, what)
            }

            #[inline]
            fn peek(&mut self, n: usize) -> Result<&[u8], T::Error> {
                (**self).peek(n)
            }

            #[inline]
            fn peek_u8(&mut self) -> Result<Option<u8>, T::Error> {
                (**self).peek_u8()
            }

            fn peek_some(&mut self) -> Result<&[u8], T::Error> {
                (**self).peek_some()
            }

            fn skip(&mut self, n: u64, what: &'static str) -> Result<(), T::Error> {
                (**self).skip(n, what)
            }

            fn skip_rest(&mut self) -> Result<u64, T::Error> {
                (**self).skip_rest()
            }

            #[inline]
            fn position(&self) -> u64 {
                (**self).position()
            }

            fn expect_end(&mut self) {
                (**self).expect_end();
            }

            #[inline]
            fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], T::Error> {
                (**self).array(what)
            }

            #[inline]
            fn u8(&mut self, what: &'static str) -> Result<u8, T::Error> {
                (**self).u8(what)
            }

            #[inline]
            fn be16(&mut self, what: &'static str) -> Result<u16, T::Error> {
                (**self).be16(what)
            }

            #[inline]
            fn be32(&mut self, what: &'static str) -> Result<u32, T::Error> {
                (**self).be32(what)
            }

            #[inline]
            fn be64(&mut self, what: &'static str) -> Result<u64, T::Error> {
                (**self).be64(what)
            }

            fn name(&mut self, what: &'static str) -> Result<&str, T::Error> {
                (**self).name(what)
            }
        }

        /// Forwards everything, also what has a default.
        #[deny(clippy::missing_trait_methods)]
        impl<T: Sink + ?Sized> Sink for $pointer {
            #[inline]
            fn put(&mut self, bytes: &[u8]) {
                (**self).put(bytes);
            }

            fn put_name(&mut self, name: &str) {
                (**self).put_name(name);
            }
        }
    )*};
}

forward!(&mut T, Box<T>);
