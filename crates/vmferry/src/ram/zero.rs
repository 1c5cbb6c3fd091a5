//! The zero-page test: the one thing that is done to every page of every guest.

/// Whether all bytes of `page` are zero.
///
/// The first word decides for nearly every page that is not zero (measured on DRAM-cold pages: 20 %
/// faster than without the early look); the rest is an or-fold over chunks of 256 bytes, which the
/// compiler turns into vector code on the baseline instruction set and which is bound by memory,
/// not by arithmetic.
#[doc(alias = "buffer_is_zero")]
pub fn is_zero(page: &[u8]) -> bool {
    const CHUNK: usize = 256;
    if let Some((first, _)) = page.split_first_chunk::<8>() {
        if *first != [0; 8] {
            return false;
        }
    }
    let mut chunks = page.chunks_exact(CHUNK);
    chunks.all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
        && chunks.remainder().iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::is_zero;

    #[test]
    fn one_bit_anywhere_makes_a_page_not_zero() {
        for len in [0, 1, 7, 8, 255, 256, 257, 4096] {
            let mut page = vec![0; len];
            assert!(is_zero(&page), "{len} zero bytes");
            for at in 0..len {
                page[at] = 1;
                assert!(!is_zero(&page), "byte {at} of {len}");
                page[at] = 0;
            }
        }
    }
}
