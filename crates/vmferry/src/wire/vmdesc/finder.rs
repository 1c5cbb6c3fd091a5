//! Finding descriptions in bytes that may go on after them.

use std::ops::Range;

use super::{ELEMENT, HEAD};
use crate::wire::limits;
use crate::work;

/// Finds the elements that may be descriptions, in their order, in bytes of which more may come.
///
/// An element stands after the byte that ends the elements, its text begins with a brace, and is within
/// [`limits::VMDESC`]. A JSON text has no byte 00, and each element stands after one: so texts do not overlap, but
/// for where a length looks like the beginning of another element, and all of them together are looked through a
/// few times at most, whatever the bytes are.
#[derive(Debug, Default)]
pub struct Finder {
    /// Before this, nothing is found any more.
    from: usize,
    /// The text of the element at `from` has no byte 00 before this.
    clean: usize,
}

impl Finder {
    /// The next element that is there as a whole. `bytes` are those of the call before, and what has come since.
    pub fn next(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        const WITH_EOF: usize = 1 + HEAD;
        loop {
            let rest = bytes.get(self.from..)?;
            let ahead = rest.windows(2).position(|pair| pair == [0, ELEMENT]);
            let Some(ahead) = ahead else {
                work::count(rest.len());
                // The last byte may be the one that ends the elements.
                self.from = bytes.len().saturating_sub(1).max(self.from);
                return None;
            };
            work::count(ahead);
            self.from = self.from.saturating_add(ahead);
            let head = bytes.get(self.from..).unwrap_or_default();
            let ([0, ELEMENT, a, b, c, d, first], _) = head.split_first_chunk()? else {
                self.from = self.from.saturating_add(1);
                continue;
            };
            let text = self.from.saturating_add(WITH_EOF);
            let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let end = text.saturating_add(len);
            if *first != b'{' || len > limits::VMDESC || !self.is_clean(bytes, text, end) {
                self.from = self.from.saturating_add(1);
                continue;
            }
            if end > bytes.len() {
                return None;
            }
            let element = self.from.saturating_add(1);
            self.from = element;
            return Some(element..end);
        }
    }

    /// Whether the text has no byte 00, as far as it is there.
    fn is_clean(&mut self, bytes: &[u8], text: usize, end: usize) -> bool {
        let from = self.clean.max(text);
        let there = bytes.get(from..end.min(bytes.len())).unwrap_or_default();
        let zero = there.iter().position(|byte| *byte == 0);
        work::count(zero.unwrap_or(there.len()));
        // What was looked through counts for an element that begins within the length of this one, too.
        self.clean = from.saturating_add(zero.unwrap_or(there.len()));
        zero.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], piece: usize) -> Vec<Range<usize>> {
        let (mut finder, mut found) = (Finder::default(), Vec::new());
        let mut there = 0;
        while there < bytes.len() {
            there = bytes.len().min(there + piece);
            while let Some(range) = finder.next(&bytes[..there]) {
                found.push(range);
            }
        }
        found
    }

    #[test]
    fn elements_are_found_whatever_stands_around_them_and_however_the_bytes_come() {
        let bytes = b"\0\0\x06\0\0\0\x02{}\0\x06\0\0\0\x04{\0}\0\x06\0\0\0\x01{\0\x06\0\0\0\x09{";
        for piece in 1..bytes.len() {
            assert_eq!(all(bytes, piece), [2..9, 19..25], "in pieces of {piece}");
        }
        // Within the length of one that is none.
        let bytes = b"\0\x06\0\x06\0\0{{2345678";
        assert_eq!(all(bytes, 1), []);
        let within = [&b"\0\x06\0\x06\0\0{{{"[..], &[b'x'; 0x7b7a]].concat();
        let bytes = [&within[..], b"\0\x06\0\0\0\x01{"].concat();
        assert_eq!(
            all(&bytes, 7),
            [3..within.len(), bytes.len() - 6..bytes.len()]
        );
    }

    #[test]
    fn each_byte_is_looked_at_a_few_times_whatever_they_are() {
        let nested = b"\0\x06\0\x7f\xff\xff{".repeat(20_000);
        let endless = [&b"\0\x06\0\x7f\xff\xff{"[..], &[b'x'; 100_000]].concat();
        let overlapping = b"\0\x06\0\x06\0\x06\0\x06".repeat(20_000);
        let whole = b"\0\x06\0\0\0\x01{".repeat(20_000);
        for bytes in [nested, endless, overlapping, whole] {
            for piece in [37, 65_536] {
                let (_, work) = work::of(|| all(&bytes, piece));
                assert!(work <= 4 * bytes.len() as u64, "{work} of {}", bytes.len());
            }
        }
    }
}
