//! Differences of pages: what is written is read back; what is not refused changes a page, and stays
//! within it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmferry::wire::xbzrle::{self, Encoded};

fuzz_target!(|bytes: &[u8]| {
    let mut page = [0x55; 4096];
    let checked = xbzrle::check(bytes, page.len());
    assert_eq!(xbzrle::decode(bytes, &mut page), checked);

    // Two halves as two pages.
    let (old, new) = bytes.split_at(bytes.len() / 2);
    let new = &new[..old.len()];
    let mut out = vec![0; old.len()];
    let mut page = old.to_vec();
    match xbzrle::encode(old, new, &mut out) {
        Encoded::Same => assert_eq!(old, new),
        Encoded::Bytes(n) => {
            xbzrle::decode(&out[..n], &mut page).expect("what was written is right");
            assert_eq!(page, new);
        }
        Encoded::Overflow => {}
    }
});
