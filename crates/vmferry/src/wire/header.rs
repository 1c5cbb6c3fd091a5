//! The eight bytes that every stream begins with.
//!
//! ```text
//! 51 45 56 4d   "QEVM"
//! 00 00 00 03   version; 3 is the only one that any QEMU of this age writes or reads
//! ```
//!
//! Only the main channel has them: a packaged stream, a recovered postcopy channel, multifd and
//! preempt channels do not.

use super::{FormatError, Sink, Source};

/// "QEVM".
#[doc(alias = "QEMU_VM_FILE_MAGIC")]
pub const MAGIC: u32 = 0x5145_564d;

/// The only version there is.
#[doc(alias = "QEMU_VM_FILE_VERSION")]
pub const VERSION: u32 = 3;

/// The version that QEMU recognises only to call it obsolete.
const OBSOLETE: u32 = 2;

/// Bytes of the header.
pub const LEN: usize = 8;

/// Reads the header.
///
/// # Errors
/// It is not there, or it is of another version.
pub fn decode<S: Source>(source: &mut S) -> Result<(), S::Error> {
    let at = source.position();
    let magic = source.be32("the stream header")?;
    if magic != MAGIC {
        return Err(FormatError::unexpected(
            at,
            "the stream header",
            "the magic \"QEVM\" (51 45 56 4d) of a migration stream",
            format_args!("{magic:08x}"),
        )
        .into());
    }
    let at = source.position();
    match source.be32("the stream header")? {
        VERSION => Ok(()),
        OBSOLETE => Err(FormatError::unexpected(
            at,
            "the stream version",
            "3",
            "2, an obsolete format that no current QEMU loads",
        )
        .into()),
        other => Err(FormatError::unexpected(at, "the stream version", "3", other).into()),
    }
}

/// Writes the header.
pub fn encode(sink: &mut impl Sink) {
    sink.put(&MAGIC.to_be_bytes());
    sink.put(&VERSION.to_be_bytes());
}

/// Eight bytes that no QEMU takes for a header: what is sent instead of one when there is nothing
/// to send, so that a waiting QEMU ends with `Not a migration stream` instead of waiting for ever.
pub const INVALID: [u8; LEN] = *b"vmferry!";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    #[test]
    fn the_header_of_qemu_is_read_and_written() {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        assert_eq!(bytes, [0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3]);
        decode(&mut SliceSource::new(&bytes)).unwrap();
    }

    #[test]
    fn every_other_magic_and_version_is_refused_with_its_place() {
        let error = |bytes: &[u8]| {
            decode(&mut SliceSource::new(bytes))
                .unwrap_err()
                .to_string()
        };
        assert!(error(&INVALID).contains("expected the magic \"QEVM\""));
        assert!(error(b"QEVM\0\0\0\x02").contains("obsolete"));
        assert!(error(b"QEVM\0\0\0\x04").contains("found 4, at offset 0x4"));
        assert!(error(b"QEVM\0\0\0").contains("the stream ends inside the stream header"));
    }
}
