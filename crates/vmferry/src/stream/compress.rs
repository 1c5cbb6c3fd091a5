//! Compressed records: a big-endian 32-bit length, and one zlib stream of that length.
//!
//! Setting up the state of a compressor costs more than compressing a page with it (32 µs against
//! 16 µs, measured with zlib), so it is made once and used again.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::release::Releaser;
use super::{ErrorKind, Reader, Result, Staging, StreamError, Writer};
use crate::channel::{ReadChannel, WriteChannel};

/// The largest block that is compressed into one record, and so the largest that a record is taken
/// for. Records hold pages, of 64 KiB at most.
pub const MAX_COMPRESSED_BLOCK: usize = 16 << 20;

/// The state of a compressor, to be used again: one for each thread.
#[derive(Debug)]
pub struct Compressor {
    state: Compress,
    scratch: Vec<u8>,
}

impl Compressor {
    /// A compressor of this level, from 0 (none) to 9 (best); higher ones are 9.
    pub fn new(level: u32) -> Self {
        Self {
            state: Compress::new(Compression::new(level.min(9)), true),
            scratch: Vec::new(),
        }
    }

    /// The most bytes that `n` bytes may become. One bit in eight more is what the fastest level
    /// may add, where nothing can be compressed.
    pub fn bound(n: usize) -> usize {
        n.saturating_add(n / 8).saturating_add(64)
    }

    /// Compresses all of `block` into `out`, and tells how many bytes it has become; `None` if
    /// there is not enough room.
    pub fn compress(&mut self, block: &[u8], out: &mut [u8]) -> Option<usize> {
        self.state.reset();
        match self.state.compress(block, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) if self.state.total_in() == block.len() as u64 => {
                usize::try_from(self.state.total_out()).ok()
            }
            _ => None,
        }
    }
}

/// The state of a decompressor, to be used again: one for each thread.
#[derive(Debug)]
pub struct Decompressor {
    state: Decompress,
    spill: Vec<u8>,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// A decompressor of zlib streams.
    pub fn new() -> Self {
        Self {
            state: Decompress::new(true),
            spill: Vec::new(),
        }
    }

    /// Decompresses one whole zlib stream, which is all of `record`, into `out`, and tells how many
    /// bytes it has become; `None` if it is damaged, or cut short, or larger than `out`, or if
    /// something is left over.
    pub fn decompress(&mut self, record: &[u8], out: &mut [u8]) -> Option<usize> {
        self.state.reset(true);
        let finish = FlushDecompress::Finish;
        match self.state.decompress(record, out, finish) {
            Ok(Status::StreamEnd) if self.state.total_in() == record.len() as u64 => {
                usize::try_from(self.state.total_out()).ok()
            }
            _ => None,
        }
    }
}

impl<C: WriteChannel, M: Releaser> Writer<'_, C, M> {
    /// Puts a record of `block`, compressed, and tells how many bytes that took: one more 4 than
    /// the compressed data.
    ///
    /// Guest memory is copied first, by who has it: what changes while it is being compressed may
    /// come out as anything.
    ///
    /// # Errors
    /// The block is larger than [`MAX_COMPRESSED_BLOCK`], and nothing was put; or the stream has
    /// failed.
    #[doc(alias = "qemu_put_compression_data")]
    pub fn put_compressed(&mut self, compressor: &mut Compressor, block: &[u8]) -> Result<usize> {
        self.check()?;
        let at = self.queued_position();
        let room = record_bound(block, at)?;
        match self.reserve(room) {
            Ok(mut reserved) => {
                if let Some(len) = record(compressor, block, reserved.as_mut_slice()) {
                    reserved.commit(len);
                    return Ok(len);
                }
            }
            Err(error) if error.is_sticky() => return Err(error),
            // Larger than the buffer.
            Err(_) => {
                let mut scratch = std::mem::take(&mut compressor.scratch);
                scratch.resize(scratch.len().max(room), 0);
                let len = record(compressor, block, &mut scratch);
                self.put_bytes(&scratch[..len.unwrap_or(0)]);
                compressor.scratch = scratch;
                if let Some(len) = len {
                    self.check()?;
                    return Ok(len);
                }
            }
        }
        let error = StreamError::new(ErrorKind::Compression, at);
        self.fail_with(error.clone());
        Err(error)
    }
}

impl Staging {
    /// As [`Writer::put_compressed`].
    ///
    /// # Errors
    /// The block is larger than [`MAX_COMPRESSED_BLOCK`]; nothing was put.
    #[doc(alias = "qemu_put_compression_data")]
    pub fn put_compressed(&mut self, compressor: &mut Compressor, block: &[u8]) -> Result<usize> {
        let at = self.as_bytes().len() as u64;
        let room = record_bound(block, at)?;
        let len = record(compressor, block, self.room(room));
        let len = len.ok_or_else(|| StreamError::new(ErrorKind::Compression, at))?;
        self.commit(len);
        Ok(len)
    }
}

impl<C: ReadChannel> Reader<C> {
    /// Takes a compressed record, decompresses it into `out`, and tells how many bytes that gave.
    ///
    /// # Errors
    /// The record is longer than anything that becomes as much as `out`, or is not whole, or
    /// becomes more; the stream ends within it, or has failed.
    pub fn get_compressed(
        &mut self,
        decompressor: &mut Decompressor,
        out: &mut [u8],
    ) -> Result<usize> {
        let at = self.position();
        let mut len = [0; 4];
        len.copy_from_slice(self.peek(4)?);
        let limit = Compressor::bound(out.len().min(MAX_COMPRESSED_BLOCK));
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        let mut inflated = None;
        if len <= limit {
            // Fetched whole before any of it is taken, unless it is more than a window.
            let mut spill = std::mem::take(&mut decompressor.spill);
            let record = self.get_ref_or(4 + len, &mut spill)?;
            inflated = decompressor.decompress(&record[4..], out);
            decompressor.spill = spill;
        }
        inflated.ok_or_else(|| {
            let error = StreamError::new(ErrorKind::Compression, at);
            self.fail_with(error.clone());
            error
        })
    }
}

/// Room for the record of `block`, whatever it becomes.
fn record_bound(block: &[u8], at: u64) -> Result<usize> {
    let (len, max) = (block.len(), MAX_COMPRESSED_BLOCK);
    if len > max {
        return Err(StreamError::new(ErrorKind::TooLong { len, max }, at));
    }
    Ok(4 + Compressor::bound(len))
}

/// Writes the record of `block`, and tells its length.
fn record(compressor: &mut Compressor, block: &[u8], out: &mut [u8]) -> Option<usize> {
    let (header, data) = out.split_first_chunk_mut::<4>()?;
    let len = compressor.compress(block, data)?;
    *header = u32::try_from(len).ok()?.to_be_bytes();
    Some(4 + len)
}
