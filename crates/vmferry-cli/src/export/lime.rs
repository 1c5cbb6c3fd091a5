//! LiME, version 1: each range of memory behind a header with its addresses.
//!
//! ```text
//!  45 4d 69 4c   01 00 00 00   u64 first address   u64 last address   8 zeros   bytes …
//! ```
//!
//! Little-endian; the last address belongs to the range.

use vmferry::ram::layout::{Kind, Layout};

use super::{Extent, Plan};

const MAGIC: u32 = 0x4c69_4d45;
const VERSION: u32 = 1;
const HEADER_LEN: u64 = 32;

/// RAM and the memory of devices.
pub fn plan(layout: &Layout) -> Plan {
    let mut plan = Plan::default();
    let segments = layout.segments.iter().filter(|s| s.kind != Kind::Firmware);
    for segment in segments {
        let mut header = Vec::new();
        header.extend(MAGIC.to_le_bytes());
        header.extend(VERSION.to_le_bytes());
        header.extend(segment.address.to_le_bytes());
        header.extend((segment.end() - 1).to_le_bytes());
        header.extend([0; 8]);
        plan.texts.push((plan.len, header));
        plan.extents.push(Extent {
            at: plan.len + HEADER_LEN,
            block: segment.block,
            offset: segment.offset,
            len: segment.len,
        });
        plan.len += HEADER_LEN + segment.len;
    }
    plan
}
