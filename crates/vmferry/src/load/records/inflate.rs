//! Pages that are compressed one by one.

use crate::stream::{Compressor, Decompressor};
use crate::wire::{FormatError, Source};

/// What it takes to decompress a page, made for the first one that comes.
#[derive(Default)]
pub(super) struct Inflater {
    state: Option<Decompressor>,
    page: Vec<u8>,
}

impl Inflater {
    /// Reads the record of a page of `page_len` bytes, after its word.
    pub(super) fn record<S: Source>(
        &mut self,
        source: &mut S,
        page_len: usize,
    ) -> Result<&[u8], S::Error> {
        const WHAT: &str = "a compressed page";
        let at = source.position();
        let len = source.be32(WHAT)?;
        let limit = Compressor::bound(page_len);
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= limit) else {
            return Err(FormatError::too_long(at, WHAT, u64::from(len), limit as u64).into());
        };
        let at = source.position();
        let record = source.take(len, WHAT)?;
        self.page.resize(page_len, 0);
        let state = self.state.get_or_insert_with(Decompressor::new);
        match state.decompress(record, &mut self.page) {
            Some(n) if n == page_len => Ok(&self.page),
            other => {
                let expected = format!("a zlib stream of {page_len} bytes");
                let found = match other {
                    Some(n) => format!("one of {n} bytes"),
                    None => "a damaged, longer or shorter one".to_owned(),
                };
                Err(FormatError::unexpected(at, WHAT, expected, found).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    /// The record of `page`, as QEMU 7.2 writes it: its length, and a zlib stream of level 1.
    fn record(page: &[u8]) -> Vec<u8> {
        let mut out = vec![0; Compressor::bound(page.len())];
        let n = Compressor::new(1).compress(page, &mut out).unwrap();
        let len = u32::try_from(n).unwrap().to_be_bytes();
        [&len, &out[..n]].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut inflater = Inflater::default();
        let page = inflater.record(&mut SliceSource::new(bytes), 4096);
        page.map(<[u8]>::to_vec).map_err(|error| error.to_string())
    }

    #[test]
    fn a_page_comes_back_and_its_record_cut_anywhere_does_not() {
        let page: Vec<u8> = (0..4096_u32).map(|i| (i / 7).to_le_bytes()[0]).collect();
        let whole = record(&page);
        assert_eq!(read(&whole).unwrap(), page);
        for end in 0..whole.len() {
            let error = read(&whole[..end]).unwrap_err();
            assert!(
                error.contains("ends inside a compressed page"),
                "{end}: {error}"
            );
        }
    }

    #[test]
    fn a_record_that_is_no_page_is_refused() {
        for (bytes, says) in [
            (record(&[7; 4095]), "one of 4095 bytes"),
            (record(&[7; 4097]), "damaged, longer or shorter"),
            (b"\0\0\x20\0".to_vec(), "the limit is"),
            (b"\0\0\0\x04abcd".to_vec(), "a zlib stream of 4096 bytes"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_page_that_nothing_can_be_made_of_is_longer_than_itself() {
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..4096)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        let whole = record(&noise);
        assert!(whole.len() > 4096);
        assert_eq!(read(&whole).unwrap(), noise);
    }
}
