//! Elements and sections: what stands between the configuration and the end.
//!
//! ```text
//! 01 START | 04 FULL     u32 section id  name idstr  u32 instance id  u32 version id  payload
//! 02 PART  | 03 END      u32 section id  payload
//! 7e                     u32 section id                                    after each payload
//! ```
//!
//! The payload has no length: an iterable section's records tell their own end, and a device's state
//! ends where its reader has enough. The footer is the only thing to resynchronise on.

use super::{FormatError, Sink, Source};

/// What begins with a byte between two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ElementType {
    /// No more elements.
    #[doc(alias = "QEMU_VM_EOF")]
    Eof = 0x00,
    /// The first piece of an iterable section.
    #[doc(alias = "QEMU_VM_SECTION_START")]
    Start = 0x01,
    /// A further piece of an iterable section.
    #[doc(alias = "QEMU_VM_SECTION_PART")]
    Part = 0x02,
    /// The last piece of an iterable section.
    #[doc(alias = "QEMU_VM_SECTION_END")]
    End = 0x03,
    /// A device, complete.
    #[doc(alias = "QEMU_VM_SECTION_FULL")]
    Full = 0x04,
    /// A command.
    #[doc(alias = "QEMU_VM_COMMAND")]
    Command = 0x08,
}

impl ElementType {
    /// The type that `byte` stands for, if any may stand where an element begins.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x00 => Self::Eof,
            0x01 => Self::Start,
            0x02 => Self::Part,
            0x03 => Self::End,
            0x04 => Self::Full,
            0x08 => Self::Command,
            _ => return None,
        })
    }

    /// Reads the byte that begins an element.
    ///
    /// # Errors
    /// The stream ends, or no element begins with the byte.
    pub fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        const WHAT: &str = "the next section, command or end of the stream";
        let at = source.position();
        let byte = source.u8(WHAT)?;
        Self::from_byte(byte).ok_or_else(|| {
            FormatError::unexpected(
                at,
                WHAT,
                "one of 00 to 04, or 08",
                format_args!("unknown section type {byte:02x}"),
            )
            .into()
        })
    }
}

/// The header of a START or FULL element, behind its type byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SectionHeader {
    /// The section's number within this stream, chosen by the sender.
    pub section_id: u32,
    /// Whose state it is: `ram`, `timer`, `0000:00:1f.2/ich9_ahci`, …
    pub idstr: String,
    /// Which of several owners of the same name.
    pub instance_id: u32,
    /// The version of the payload's layout.
    pub version_id: u32,
}

impl SectionHeader {
    /// Reads a header, from behind the type byte on.
    ///
    /// # Errors
    /// The stream ends inside it, or its idstr is no name.
    pub fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        const WHAT: &str = "a section header";
        Ok(Self {
            section_id: source.be32(WHAT)?,
            idstr: source.name("the idstr of a section")?.to_owned(),
            instance_id: source.be32(WHAT)?,
            version_id: source.be32(WHAT)?,
        })
    }

    /// Writes a START or FULL element up to its payload.
    pub fn encode(&self, element: ElementType, sink: &mut impl Sink) {
        sink.put(&[element as u8]);
        sink.put(&self.section_id.to_be_bytes());
        sink.put_name(&self.idstr);
        sink.put(&self.instance_id.to_be_bytes());
        sink.put(&self.version_id.to_be_bytes());
    }

    /// Bytes of the encoded header, its type byte included.
    pub fn encoded_len(&self) -> usize {
        const FIXED: usize = 1 + 4 + 1 + 4 + 4;
        self.idstr.len().saturating_add(FIXED)
    }
}

/// Writes a PART or END element up to its payload.
pub fn encode_continued(element: ElementType, section_id: u32, sink: &mut impl Sink) {
    sink.put(&[element as u8]);
    sink.put(&section_id.to_be_bytes());
}

/// The byte that begins a footer.
#[doc(alias = "QEMU_VM_SECTION_FOOTER")]
pub const FOOTER: u8 = 0x7e;

/// Bytes of a footer.
pub const FOOTER_LEN: usize = 5;

/// Reads the footer of the section with this id.
///
/// # Errors
/// It is not there, or it is that of another section: the payload is longer or shorter than was
/// read.
pub fn decode_footer<S: Source>(source: &mut S, section_id: u32) -> Result<(), S::Error> {
    const WHAT: &str = "a section footer";
    let at = source.position();
    let byte = source.u8(WHAT)?;
    if byte != FOOTER {
        return Err(FormatError::unexpected(
            at,
            WHAT,
            "7e (the section's payload ends here)",
            format_args!("{byte:02x}"),
        )
        .into());
    }
    let at = source.position();
    let found = source.be32(WHAT)?;
    if found != section_id {
        return Err(FormatError::unexpected(
            at,
            WHAT,
            format!("section id {section_id:#x}"),
            format_args!("{found:#x}"),
        )
        .into());
    }
    Ok(())
}

/// The footer of the section with this id.
pub fn footer(section_id: u32) -> [u8; FOOTER_LEN] {
    let [a, b, c, d] = section_id.to_be_bytes();
    [FOOTER, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    /// The head of QEMU 10.0.2's `cpu_common` section, and its whole 8-byte payload and footer.
    const CPU_COMMON: &[u8] =
        b"\x04\0\0\0\x03\x0acpu_common\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x10\x7e\0\0\0\x03";

    #[test]
    fn a_section_header_and_footer_of_qemu_are_read_and_written() {
        let mut source = SliceSource::new(CPU_COMMON);
        assert_eq!(ElementType::decode(&mut source).unwrap(), ElementType::Full);
        let header = SectionHeader::decode(&mut source).unwrap();
        assert_eq!(
            (header.section_id, header.idstr.as_str()),
            (3, "cpu_common")
        );
        assert_eq!((header.instance_id, header.version_id), (0, 1));
        assert_eq!(source.position(), header.encoded_len() as u64);
        let payload = source.take(8, "payload").unwrap().to_vec();
        decode_footer(&mut source, header.section_id).unwrap();

        let mut bytes = Vec::new();
        header.encode(ElementType::Full, &mut bytes);
        bytes.put(&payload);
        bytes.put(&footer(header.section_id));
        assert_eq!(bytes, CPU_COMMON);
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_an_error() {
        let header = CPU_COMMON.len() - 13;
        for end in 1..header {
            let mut source = SliceSource::new(&CPU_COMMON[1..end]);
            assert!(SectionHeader::decode(&mut source).is_err(), "{end}");
        }
    }

    #[test]
    fn a_footer_in_the_wrong_place_or_of_another_section_says_what_it_found() {
        let error = |bytes: &[u8]| {
            decode_footer(&mut SliceSource::new(bytes), 3)
                .unwrap_err()
                .to_string()
        };
        assert!(error(b"\0\x7e\0\0\0\x03").contains("found 00, at offset 0x0"));
        assert!(error(b"\x7e\0\0\0\x13").contains("expected section id 0x3, found 0x13"));
        assert!(error(b"\x7e\0\0\0").contains("ends inside a section footer"));
    }

    #[test]
    fn only_six_bytes_begin_an_element() {
        let known = (0..=u8::MAX).filter(|byte| ElementType::from_byte(*byte).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 8]);
        for byte in [0, 1, 2, 3, 4, 8] {
            assert_eq!(ElementType::from_byte(byte).unwrap() as u8, byte);
        }
    }
}
