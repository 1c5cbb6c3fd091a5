//! What the payloads of a channel are made of, on the writing side.

use std::io;

use flate2::{Compress, Compression, FlushCompress};
use zstd::stream::raw::{Encoder as ZstdEncoder, Operation, OutBuffer};

use crate::wire::multifd::Method;

/// Bytes that are compressed into at once.
const STEP: usize = 128 << 10;

/// What it takes to write the payloads of one channel, one after the other.
pub(super) enum Payloads {
    Plain,
    /// One stream for the whole channel, flushed behind each packet and never ended.
    Zlib(Compress),
    /// The same, in one frame.
    Zstd(ZstdEncoder<'static>, Vec<u8>),
}

impl Payloads {
    /// With QEMU's own level, or another.
    pub(super) fn new(method: Method, level: Option<u8>) -> io::Result<Self> {
        let level = level.unwrap_or(1);
        match method {
            Method::None => Ok(Self::Plain),
            Method::Zlib => {
                let level = Compression::new(u32::from(level).min(9));
                Ok(Self::Zlib(Compress::new(level, true)))
            }
            Method::Zstd => {
                let state = ZstdEncoder::new(i32::from(level).min(20))?;
                Ok(Self::Zstd(state, vec![0; STEP]))
            }
            other => {
                let what = format!("multifd-compression {} is only read", other.name());
                Err(io::Error::new(io::ErrorKind::Unsupported, what))
            }
        }
    }

    /// The payload with these pages; `out` is used again.
    pub(super) fn write<'a>(
        &mut self,
        pages: &'a [u8],
        out: &'a mut Vec<u8>,
    ) -> io::Result<&'a [u8]> {
        out.clear();
        match self {
            // QEMU has nothing to flush either, and no payload, where no page has one.
            _ if pages.is_empty() => {}
            Self::Plain => return Ok(pages),
            Self::Zlib(state) => deflate(state, pages, out)?,
            Self::Zstd(state, step) => zstd(state, pages, step, out)?,
        }
        Ok(out)
    }
}

fn deflate(state: &mut Compress, mut pages: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    loop {
        out.reserve(STEP);
        let before = state.total_in();
        state
            .compress_vec(pages, out, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        let read = usize::try_from(state.total_in() - before).unwrap_or(usize::MAX);
        pages = pages.get(read..).unwrap_or_default();
        // All of it is out where there is room left.
        if pages.is_empty() && out.len() < out.capacity() {
            return Ok(());
        }
    }
}

fn zstd(
    state: &mut ZstdEncoder<'_>,
    mut pages: &[u8],
    step: &mut [u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    while !pages.is_empty() {
        let done = state.run_on_buffers(pages, step)?;
        out.extend_from_slice(&step[..done.bytes_written]);
        pages = &pages[done.bytes_read..];
    }
    loop {
        let mut room = OutBuffer::around(step);
        let left = state.flush(&mut room)?;
        let made = room.pos();
        out.extend_from_slice(&step[..made]);
        if left == 0 {
            return Ok(());
        }
    }
}
