//! What claims to be a libvirt save image: an error, or an image that is the same when it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmferry::container::libvirt::{DATA, Image, LEN, Written};
use vmferry::wire::SliceSource;

fuzz_target!(|bytes: &[u8]| {
    let Ok(decoded) = Image::decode(&mut SliceSource::new(bytes)) else {
        return;
    };
    assert!(decoded.header.data_len <= DATA);
    assert!(bytes.len() >= LEN + decoded.header.data_len as usize);
    let again = decoded
        .image
        .encode(Written::Whole)
        .expect("it was read, so it is not too long");
    let again = Image::decode(&mut SliceSource::new(&again)).expect("what was written is right");
    assert_eq!(again.image, decoded.image);
});
