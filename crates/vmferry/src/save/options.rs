//! What a stream with multifd channels is written with.

use crate::machine::Rules;
use crate::wire::multifd::Method;

/// How the channels are written.
#[derive(Debug, Clone, Default)]
pub struct MultifdOptions {
    /// How pages are compressed: not at all, with zlib or with zstd.
    pub method: Method,
    /// The level of compression: 0 to 9 for zlib, 0 to 20 for zstd; `None` for QEMU's own default, 1.
    pub level: Option<u8>,
    /// The machine's `-uuid`, or zeros, if it has none: the destination compares it.
    pub uuid: [u8; 16],
    /// What holds for a machine type whose name says nothing of it.
    pub rules: Option<Rules>,
}

impl MultifdOptions {
    /// With this method, and QEMU's defaults for all else.
    pub fn new(method: Method) -> Self {
        Self {
            method,
            ..Self::default()
        }
    }
}
