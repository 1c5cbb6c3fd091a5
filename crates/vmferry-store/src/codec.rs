//! Zstandard, with contexts that are kept and output that is bounded.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::error::StoreError;

/// How bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As they are.
    Raw,
    /// As one Zstandard frame.
    Zstd,
}

/// Compresses many pieces, one after the other.
pub(crate) struct Compressor {
    context: zstd::bulk::Compressor<'static>,
}

impl Compressor {
    pub(crate) fn new(level: i32) -> Result<Self, StoreError> {
        zstd::bulk::Compressor::new(level)
            .map(|context| Self { context })
            .map_err(|error| StoreError::io("set up", "the compressor", error))
    }

    /// Compresses `raw` into `out`, whose content is replaced; leaves `out` empty if that would not
    /// be smaller.
    pub(crate) fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Codec {
        out.clear();
        out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        match self.context.compress_to_buffer(raw, out) {
            Ok(length) if length < raw.len() => Codec::Zstd,
            _ => {
                out.clear();
                Codec::Raw
            }
        }
    }
}

/// Decompression contexts, as many as there are threads that use them at the same time.
#[derive(Default)]
pub(crate) struct Decompressors {
    idle: Mutex<Vec<zstd::bulk::Decompressor<'static>>>,
}

impl Decompressors {
    /// Fills `out` with what `stored` decompresses to.
    ///
    /// The error says what is wrong with `stored`: it does not decompress, or to another length.
    pub(crate) fn decompress(&self, stored: &[u8], out: &mut [u8]) -> io::Result<()> {
        match self.run(stored, out)? {
            length if length == out.len() => Ok(()),
            length => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{length} bytes when decompressed, not {}", out.len()),
            )),
        }
    }

    /// What `stored` decompresses to, which may be at most `limit` bytes.
    pub(crate) fn decompress_up_to(&self, stored: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let mut out = vec![0; limit];
        let length = self.run(stored, &mut out)?;
        out.truncate(length);
        Ok(out)
    }

    fn run(&self, stored: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let idle = self.lock().pop();
        let mut context = match idle {
            Some(context) => context,
            None => zstd::bulk::Decompressor::new()?,
        };
        let result = context.decompress_to_buffer(stored, out);
        self.lock().push(context);
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<zstd::bulk::Decompressor<'static>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_is_not_compressed() {
        let mut compressor = Compressor::new(1).unwrap();
        let mut out = vec![1, 2, 3];
        let noise: Vec<u8> = (0_u32..4096)
            .flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..1].to_vec())
            .collect();
        assert_eq!(compressor.compress(&noise, &mut out), Codec::Raw);
        assert!(out.is_empty());
        assert_eq!(compressor.compress(&[7; 4096], &mut out), Codec::Zstd);
        assert!(out.len() < 100);
    }

    #[test]
    fn decompression_fills_its_output_exactly() {
        let mut out = Vec::new();
        Compressor::new(1).unwrap().compress(&[7; 4096], &mut out);
        let decompressors = Decompressors::default();
        let mut page = [0; 4096];
        decompressors.decompress(&out, &mut page).unwrap();
        assert_eq!(page, [7; 4096]);
        assert!(decompressors.decompress(&out, &mut [0; 4095]).is_err());
        assert!(decompressors.decompress(&out, &mut [0; 4097]).is_err());
        assert!(decompressors.decompress(&out[1..], &mut page).is_err());
    }
}
