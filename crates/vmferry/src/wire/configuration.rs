//! The configuration element: which machine this is, and what both sides must share.
//!
//! It stands directly after the header (machine types before 2.4 do not send it) and is a vmstate
//! without section header, id or footer:
//!
//! ```text
//! 07  u32 length  machine type
//! 05 1e "configuration/target-page-bits" u32 1  u32 bits          targets with variable pages
//! 05 1a "configuration/capabilities"     u32 1  u32 n  n × name   where at least one is on
//! 05 12 "configuration/uuid"             u32 1  16 bytes          with capability validate-uuid
//! ```

use super::{FormatError, Sink, Source, limits};
use crate::ram::PageSize;

/// The byte that begins the element.
#[doc(alias = "QEMU_VM_CONFIGURATION")]
pub const ELEMENT: u8 = 0x07;

const SUBSECTION: u8 = 0x05;
const SUBSECTION_VERSION: u32 = 1;
const TARGET_PAGE_BITS: &str = "configuration/target-page-bits";
const CAPABILITIES: &str = "configuration/capabilities";
const UUID: &str = "configuration/uuid";

/// The capability whose pages lie at fixed places in a file; the stream says so here.
pub const MAPPED_RAM: &str = "mapped-ram";
/// The capability under which shared memory is not in the stream; the stream says so here.
pub const X_IGNORE_SHARED: &str = "x-ignore-shared";

/// The machine as its stream tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Canonical machine type, `pc-q35-10.0`; never the alias.
    pub machine: String,
    /// Target page bits, where the stream says them (never on x86).
    pub target_page_bits: Option<u32>,
    /// The capabilities that both sides must have in the same state, by name.
    pub capabilities: Vec<String>,
    /// The machine's UUID, if it is to be validated.
    pub uuid: Option<[u8; 16]>,
}

impl Configuration {
    /// Reads the element, from its first byte on.
    ///
    /// # Errors
    /// The stream ends inside it, or it holds something that QEMU does not send.
    pub fn decode<S: Source>(source: &mut S) -> Result<Self, S::Error> {
        const WHAT: &str = "the configuration";
        let at = source.position();
        let element = source.u8(WHAT)?;
        if element != ELEMENT {
            return Err(FormatError::unexpected(
                at,
                WHAT,
                "the configuration element (07)",
                format_args!("{element:02x}"),
            )
            .into());
        }
        let mut configuration = Self {
            machine: machine(source)?,
            ..Self::default()
        };
        // Each may come once: otherwise nothing would bound how many there are.
        let mut seen = Vec::new();
        while source.peek(1)?.first() == Some(&SUBSECTION) {
            source.u8(WHAT)?;
            let at = source.position();
            let name = configuration.decode_subsection(source)?;
            if seen.contains(&name) {
                let found = format!("'{name}' a second time");
                return Err(
                    FormatError::unexpected(at, WHAT, "each subsection once", found).into(),
                );
            }
            seen.push(name);
        }
        Ok(configuration)
    }

    /// Reads a subsection and tells its name.
    fn decode_subsection<S: Source>(&mut self, source: &mut S) -> Result<String, S::Error> {
        const WHAT: &str = "a subsection of the configuration";
        let at = source.position();
        let name = source.name(WHAT)?.to_owned();
        let version_at = source.position();
        let version = source.be32(WHAT)?;
        if version != SUBSECTION_VERSION {
            return Err(FormatError::unexpected(
                version_at,
                WHAT,
                "version 1",
                format_args!("version {version} of '{name}'"),
            )
            .into());
        }
        match name.as_str() {
            TARGET_PAGE_BITS => {
                let at = source.position();
                let bits = source.be32("the target page bits")?;
                if 1_u64.checked_shl(bits).and_then(PageSize::new).is_none() {
                    let expected = "a page size from 1 to 64 KiB (10 to 16)";
                    return Err(FormatError::unexpected(
                        at,
                        "the target page bits",
                        expected,
                        bits,
                    )
                    .into());
                }
                self.target_page_bits = Some(bits);
            }
            CAPABILITIES => {
                let at = source.position();
                let count = source.be32("the number of capabilities")?;
                if count > limits::CAPABILITIES {
                    let limit = limits::CAPABILITIES.into();
                    return Err(FormatError::too_long(
                        at,
                        "the list of capabilities",
                        count.into(),
                        limit,
                    )
                    .into());
                }
                for _ in 0..count {
                    let name = source.name("the name of a capability")?.to_owned();
                    self.capabilities.push(name);
                }
            }
            UUID => self.uuid = Some(source.array("the machine's UUID")?),
            _ => {
                return Err(FormatError::unexpected(
                    at,
                    WHAT,
                    "target-page-bits, capabilities or uuid",
                    format_args!("'{name}'"),
                )
                .into());
            }
        }
        Ok(name)
    }

    /// Writes the element.
    pub fn encode(&self, sink: &mut impl Sink) {
        sink.put(&[ELEMENT]);
        sink.put(&length(self.machine.len()).to_be_bytes());
        sink.put(self.machine.as_bytes());
        if let Some(bits) = self.target_page_bits {
            put_subsection(sink, TARGET_PAGE_BITS);
            sink.put(&bits.to_be_bytes());
        }
        if !self.capabilities.is_empty() {
            put_subsection(sink, CAPABILITIES);
            sink.put(&length(self.capabilities.len()).to_be_bytes());
            for capability in &self.capabilities {
                sink.put_name(capability);
            }
        }
        if let Some(uuid) = &self.uuid {
            put_subsection(sink, UUID);
            sink.put(uuid);
        }
    }

    /// Whether `capability` must be on at the destination.
    pub fn has_capability(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|name| name == capability)
    }

    /// Whether the stream leaves out the memory that the machine shares with others (`x-ignore-shared`).
    pub fn leaves_out_shared_memory(&self) -> bool {
        self.has_capability(X_IGNORE_SHARED)
    }

    /// The same for a stream with its pages in records, whatever kind of stream or file it came from.
    #[must_use]
    pub fn without_mapped_ram(mut self) -> Self {
        self.capabilities
            .retain(|capability| capability != MAPPED_RAM);
        self
    }

    /// The target page size: what the stream says, else that of x86.
    pub fn page_size(&self) -> PageSize {
        self.target_page_bits
            .and_then(|bits| 1_u64.checked_shl(bits))
            .and_then(PageSize::new)
            .unwrap_or(PageSize::X86)
    }
}

fn machine<S: Source>(source: &mut S) -> Result<String, S::Error> {
    const WHAT: &str = "the machine type";
    let at = source.position();
    let len = source.be32(WHAT)?;
    if len > limits::MACHINE {
        return Err(FormatError::too_long(at, WHAT, len.into(), limits::MACHINE.into()).into());
    }
    let at = source.position();
    let bytes = source.take(len as usize, WHAT)?;
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() && !name.contains('\0') => Ok(name.to_owned()),
        _ => {
            let found = format!("{:?}", String::from_utf8_lossy(bytes));
            Err(FormatError::unexpected(at, WHAT, "its name in text", found).into())
        }
    }
}

fn put_subsection(sink: &mut impl Sink, name: &str) {
    sink.put(&[SUBSECTION]);
    sink.put_name(name);
    sink.put(&SUBSECTION_VERSION.to_be_bytes());
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SliceSource;

    /// As QEMU 10.0.2 writes it with `x-ignore-shared` and `validate-uuid` on.
    const WITH_SUBSECTIONS: &[u8] = b"\x07\0\0\0\x0bpc-q35-10.0\
        \x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x0fx-ignore-shared\
        \x05\x12configuration/uuid\0\0\0\x01\
        \x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\0";

    #[test]
    fn a_configuration_with_subsections_is_read_and_written_back() {
        let mut source = SliceSource::new(WITH_SUBSECTIONS);
        let configuration = Configuration::decode(&mut source).unwrap();
        assert_eq!(source.rest(), b"");
        assert_eq!(configuration.machine, "pc-q35-10.0");
        assert!(configuration.has_capability(X_IGNORE_SHARED));
        assert_eq!(configuration.uuid.unwrap()[..2], [0x11, 0x22]);
        assert_eq!(configuration.page_size(), PageSize::X86);
        let mut bytes = Vec::new();
        configuration.encode(&mut bytes);
        assert_eq!(bytes, WITH_SUBSECTIONS);
    }

    #[test]
    fn target_page_bits_decide_the_page_size() {
        let bytes =
            b"\x07\0\0\0\x08virt-8.0\x05\x1econfiguration/target-page-bits\0\0\0\x01\0\0\0\x10";
        let configuration = Configuration::decode(&mut SliceSource::new(bytes)).unwrap();
        assert_eq!(configuration.page_size(), PageSize::MAX);
        let mut again = Vec::new();
        configuration.encode(&mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn a_configuration_that_is_cut_anywhere_is_an_error() {
        for end in 0..WITH_SUBSECTIONS.len() {
            let mut source = SliceSource::new(&WITH_SUBSECTIONS[..end]);
            // Cut exactly before a subsection, it is a shorter configuration.
            match Configuration::decode(&mut source) {
                Ok(shorter) => {
                    let mut bytes = Vec::new();
                    shorter.encode(&mut bytes);
                    assert_eq!(bytes, &WITH_SUBSECTIONS[..end]);
                }
                Err(error) => assert!(error.to_string().contains("ends inside"), "{end}: {error}"),
            }
        }
    }

    #[test]
    fn a_subsection_that_comes_again_is_refused() {
        let capabilities = b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x01a";
        let uuid = b"\x05\x12configuration/uuid\0\0\0\x010123456789abcdef";
        let bits = b"\x05\x1econfiguration/target-page-bits\0\0\0\x01\0\0\0\x0c";
        for subsection in [&capabilities[..], uuid, bits] {
            let once = [b"\x07\0\0\0\x01a", subsection].concat();
            Configuration::decode(&mut SliceSource::new(&once)).unwrap();
            let twice = [&once[..], subsection].concat();
            let error = Configuration::decode(&mut SliceSource::new(&twice)).unwrap_err();
            assert!(error.to_string().contains("a second time"), "{error}");
        }
    }

    #[test]
    fn long_lists_and_unknown_subsections_are_refused_before_they_are_read() {
        let error = |bytes: &[u8]| {
            Configuration::decode(&mut SliceSource::new(bytes))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(b"\x07\xff\xff\xff\xff"),
            "the machine type has a length of 4294967295, the limit is 255, at offset 0x1"
        );
        assert!(
            error(b"\x07\0\0\0\x01a\x05\x1aconfiguration/capabilities\0\0\0\x01\0\xff\0\0")
                .contains("the limit is 256")
        );
        assert!(error(b"\x07\0\0\0\x01a\x05\x03new\0\0\0\x01").contains("found 'new'"));
    }
}
