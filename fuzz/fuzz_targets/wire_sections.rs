//! Pieces of the iterable sections beside 'ram': an error, or an end within the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmferry::wire::dirty_bitmap::Chunk;
use vmferry::wire::other_sections::OtherSection;
use vmferry::wire::{SliceSource, Source};

fuzz_target!(|bytes: &[u8]| {
    for idstr in ["spapr/htab", "s390-storage_attributes", "0000:00:02.0/vfio"] {
        let section = OtherSection::find(idstr).expect("they are known");
        let mut source = SliceSource::new(bytes);
        let _ = section.skip(&mut source);
        assert!(source.position() <= bytes.len() as u64);
    }
    let mut source = SliceSource::new(bytes);
    while Chunk::decode(&mut source).is_ok() {
        if source.position() == bytes.len() as u64 {
            break;
        }
    }
});
