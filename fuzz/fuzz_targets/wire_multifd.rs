//! The first packet of a multifd channel and the heads of those behind it: what is not refused is the same
//! when it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmferry::ram::PageSize;
use vmferry::wire::SliceSource;
use vmferry::wire::multifd::{Init, Packet, packet_pages};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(init) = Init::decode(&mut SliceSource::new(bytes)) {
        let mut again = Vec::new();
        init.encode(&mut again);
        assert_eq!(Init::decode(&mut SliceSource::new(&again)).ok(), Some(init));
    }
    for page_size in [PageSize::MIN, PageSize::X86, PageSize::MAX] {
        let mut source = SliceSource::new(bytes);
        while let Ok(packet) = Packet::decode(&mut source, page_size) {
            let mut again = Vec::new();
            match &packet {
                Packet::Pages(pages) => {
                    let count = pages.normal.len() + pages.zero.len();
                    assert!(count <= packet_pages(page_size));
                    pages.encode(page_size, &mut again);
                }
                Packet::DeviceState(state) => state.encode(&mut again),
            }
            let same = Packet::decode(&mut SliceSource::new(&again), page_size);
            assert_eq!(same.ok(), Some(packet));
        }
    }
});
