//! Guest-physical memory as it is: each byte of RAM at the offset that is its address.

use vmferry::ram::layout::{Kind, Layout};

use super::{Extent, Plan};

/// RAM and the memory of devices; firmware is left out, which would lie in the hole below 4 GiB.
pub fn plan(layout: &Layout) -> Plan {
    let segments = layout.segments.iter().filter(|s| s.kind != Kind::Firmware);
    let extents: Vec<_> = segments
        .map(|segment| Extent {
            at: segment.address,
            block: segment.block,
            offset: segment.offset,
            len: segment.len,
        })
        .collect();
    Plan {
        texts: Vec::new(),
        len: extents.iter().map(|e| e.at + e.len).max().unwrap_or(0),
        extents,
    }
}
