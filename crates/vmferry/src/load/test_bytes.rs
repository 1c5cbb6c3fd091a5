//! Elements of a stream as bytes, for the tests of the loader's parts.

use crate::wire::Sink;
use crate::wire::section::{ElementType, SectionHeader, footer};

/// A whole device section, with its footer.
pub(super) fn device(section_id: u32, idstr: &str, payload: &[u8]) -> Vec<u8> {
    let header = SectionHeader {
        section_id,
        idstr: idstr.into(),
        instance_id: 0,
        version_id: 1,
    };
    let mut bytes = Vec::new();
    header.encode(ElementType::Full, &mut bytes);
    bytes.put(payload);
    bytes.put(&footer(section_id));
    bytes
}
