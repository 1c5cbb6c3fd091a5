//! A virtio device's state over PCI, as far as it can be taken apart without knowing the device.
//!
//! In a stream's description it is one field of type `virtio`, 45 KiB of bytes without names:
//!
//! ```text
//! u32 2  PCI configuration space (256 bytes, or 4096 for PCIe)  4 × u32 interrupt lines
//! with MSI-X: 16 bytes for each vector  one bit for each vector, in bytes  u16 vector for the configuration
//! u8 status  u8 isr  u16 selected queue  u32 features of the guest, the low half
//! u32 n  n bytes of the device's configuration
//! u32 n  for each queue: u32 size  u64 descriptors  u16 last available index  [u16 vector, with MSI-X]
//! what the device adds
//! subsections: virtio/64bit_features, virtio/virtqueues, virtio/extra_state, …
//! ```
//!
//! Whether there is MSI-X, and for how many vectors, the configuration space tells. Where the device's own part
//! ends nobody tells: it is looked for what begins a subsection with such a name. That is a guess.

use super::vmstate::{Field, SUBSECTION, State, Value};
use super::{FormatError, SliceSource, Source};

/// The type of the field in a description.
pub const KIND: &str = "virtio";

/// Queues of one device.
pub const QUEUES: u32 = 1024;

const WHAT: &str = "the state of a virtio device";
const PCI_DEVICE: u32 = 2;
const CONFIG: usize = 256;
const CONFIG_PCIE: usize = 4096;
const INTERRUPTS: usize = 16;

/// Takes apart the bytes of a field of type [`KIND`], which stand at `at` in their payload.
///
/// # Errors
/// It is no device on PCI, or not laid out so.
pub fn decode(bytes: &[u8], at: usize) -> Result<State<'_>, FormatError> {
    let mut walk = Walk {
        bytes,
        at,
        source: SliceSource::at(bytes, at as u64),
    };
    let (pci, vectors) = walk.pci()?;
    let mut fields = vec![pci];
    if let Some(vectors) = vectors {
        fields.push(walk.msix(vectors)?);
    }
    fields.push(walk.number::<1>("status", "uint8")?);
    fields.push(walk.number::<1>("isr", "uint8")?);
    fields.push(walk.number::<2>("queue_sel", "uint16")?);
    fields.push(walk.number::<4>("guest_features", "uint32")?);
    let (field, len) = walk.length("config_len")?;
    fields.push(field);
    fields.push(walk.raw("config", "buffer", len as usize)?);
    let (field, queues) = walk.length("queues")?;
    if queues > QUEUES {
        let what = "the queues of a virtio device";
        let (at, limit) = (walk.source.position(), QUEUES.into());
        return Err(FormatError::too_long(at, what, queues.into(), limit));
    }
    fields.push(field);
    for index in 0..queues {
        fields.push(walk.queue(index, vectors.is_some())?);
    }
    let own = to_subsection(walk.source.rest());
    fields.push(walk.raw("device", "buffer", own)?);
    Ok(State {
        name: KIND,
        version: 0,
        fields,
        subsections: walk.subsections()?,
    })
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    source: SliceSource<'a>,
}

impl<'a> Walk<'a> {
    /// Bytes that were taken.
    fn taken(&self) -> usize {
        self.bytes.len().saturating_sub(self.source.rest().len())
    }

    fn field(&self, name: &'a str, kind: &'a str, from: usize, value: Value<'a>) -> Field<'a> {
        Field {
            name,
            kind,
            index: None,
            at: self.at.saturating_add(from),
            bytes: self.bytes.get(from..self.taken()).unwrap_or_default(),
            value,
        }
    }

    fn raw(&mut self, name: &'a str, kind: &'a str, len: usize) -> Result<Field<'a>, FormatError> {
        let from = self.taken();
        self.source.take_slice(len, WHAT)?;
        Ok(self.field(name, kind, from, Value::Bytes))
    }

    fn number<const N: usize>(
        &mut self,
        name: &'a str,
        kind: &'a str,
    ) -> Result<Field<'a>, FormatError> {
        let from = self.taken();
        let bytes = self.source.array::<N>(WHAT)?;
        let number = bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(self.field(name, kind, from, Value::Unsigned(number)))
    }

    fn structure(&self, name: &'a str, from: usize, fields: Vec<Field<'a>>) -> Field<'a> {
        let state = State {
            name,
            version: 0,
            fields,
            subsections: Vec::new(),
        };
        self.field(name, "struct", from, Value::Struct(state))
    }

    /// The PCI device, and for how many vectors it has MSI-X.
    fn pci(&mut self) -> Result<(Field<'a>, Option<usize>), FormatError> {
        let from = self.taken();
        let version = self.number::<4>("version_id", "int32")?;
        if version.value != Value::Unsigned(PCI_DEVICE.into()) {
            let found = format!("{:02x?}", version.bytes);
            let expected = "that of a PCI device, version 2";
            return Err(FormatError::unexpected(
                self.at as u64,
                WHAT,
                expected,
                found,
            ));
        }
        let space = self.source.rest();
        let capabilities = Capabilities::of(space);
        let len = match capabilities.is_express {
            true => CONFIG_PCIE,
            false => CONFIG,
        };
        let config = self.raw("config", "pci config", len)?;
        let interrupts = self.raw("irq_state", "pci irq state", INTERRUPTS)?;
        let fields = vec![version, config, interrupts];
        Ok((
            self.structure("pci", from, fields),
            capabilities.msix_vectors,
        ))
    }

    fn msix(&mut self, vectors: usize) -> Result<Field<'a>, FormatError> {
        let from = self.taken();
        let len = vectors
            .saturating_mul(16)
            .saturating_add(vectors.div_ceil(8));
        let fields = vec![
            self.raw("msix", "msix state", len)?,
            self.number::<2>("config_vector", "uint16")?,
        ];
        Ok(self.structure("msix", from, fields))
    }

    fn length(&mut self, name: &'a str) -> Result<(Field<'a>, u32), FormatError> {
        let from = self.taken();
        let len = self.source.be32(WHAT)?;
        let value = Value::Unsigned(len.into());
        Ok((self.field(name, "uint32", from, value), len))
    }

    fn queue(&mut self, index: u32, has_vector: bool) -> Result<Field<'a>, FormatError> {
        let from = self.taken();
        let mut fields = vec![
            self.number::<4>("num", "uint32")?,
            self.number::<8>("desc", "uint64")?,
            self.number::<2>("last_avail_idx", "uint16")?,
        ];
        if has_vector {
            fields.push(self.number::<2>("vector", "uint16")?);
        }
        Ok(Field {
            index: Some(index.into()),
            ..self.structure("queue", from, fields)
        })
    }

    fn subsections(&mut self) -> Result<Vec<State<'a>>, FormatError> {
        let mut subsections = Vec::new();
        while !self.source.rest().is_empty() {
            // Its mark is there: it was looked for.
            self.source.u8(WHAT)?;
            let len = self.source.u8(WHAT)?;
            let name = self.source.take_slice(len.into(), WHAT)?;
            let version = self.source.be32(WHAT)?;
            let len = to_subsection(self.source.rest());
            let features = len == 8 && name == b"virtio/64bit_features";
            let field = match features {
                true => self.number::<8>("guest_features", "uint64")?,
                false => self.raw("data", "buffer", len)?,
            };
            subsections.push(State {
                name: std::str::from_utf8(name).unwrap_or_default(),
                version,
                fields: if field.bytes.is_empty() {
                    Vec::new()
                } else {
                    vec![field]
                },
                subsections: Vec::new(),
            });
        }
        Ok(subsections)
    }
}

/// What the list of capabilities in a configuration space says.
#[derive(Default)]
struct Capabilities {
    is_express: bool,
    msix_vectors: Option<usize>,
}

impl Capabilities {
    fn of(space: &[u8]) -> Self {
        const LIST: usize = 0x34;
        const EXPRESS: u8 = 0x10;
        const MSIX: u8 = 0x11;
        let mut found = Self::default();
        let mut next = space.get(LIST).copied().unwrap_or_default();
        // As many as there is room for: a list may go round in a circle.
        for _ in 0..CONFIG / 4 {
            let Some([kind, following, low, high]) = space
                .get(next.into()..CONFIG)
                .and_then(|rest| rest.first_chunk())
                .filter(|_| next != 0)
            else {
                break;
            };
            match *kind {
                EXPRESS => found.is_express = true,
                MSIX => {
                    let size = u16::from_le_bytes([*low, *high]) & 0x7ff;
                    found.msix_vectors = Some(usize::from(size).saturating_add(1));
                }
                _ => {}
            }
            next = *following;
        }
        found
    }
}

/// How many bytes there are before a subsection of a virtio device seems to begin, or the end.
fn to_subsection(bytes: &[u8]) -> usize {
    let mut places = bytes.windows(2).enumerate();
    let found = places.find(|(at, window)| {
        let [SUBSECTION, len] = window else {
            return false;
        };
        let from = at.saturating_add(2);
        let name = bytes.get(from..from.saturating_add(usize::from(*len)));
        name.is_some_and(|name| {
            let own = name.strip_prefix(b"virtio/");
            let rest = own.or_else(|| name.strip_prefix(b"virtio_pci/"));
            rest.is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_graphic))
        })
    });
    found.map_or(bytes.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_on_pci_is_refused() {
        for bytes in [&b""[..], &[0; 64], b"\0\0\0\x02"] {
            assert!(decode(bytes, 0).is_err());
        }
        let mut many = vec![0; 4 + 256 + 16 + 8 + 4 + 4];
        many[3] = 2;
        many.extend_from_slice(&[0; 64]);
        assert!(decode(&many, 0).is_ok());
        let queues = 4 + 256 + 16 + 8 + 4;
        many[queues] = 1;
        let error = decode(&many, 0).unwrap_err().to_string();
        assert!(error.contains("the limit is 1024"), "{error}");
    }

    #[test]
    fn a_list_of_capabilities_that_goes_round_ends() {
        let mut space = [0; 256];
        (space[0x34], space[0x40], space[0x41]) = (0x40, 0x11, 0x40);
        assert_eq!(Capabilities::of(&space).msix_vectors, Some(1));
        (space[0x40], space[0x41]) = (0x10, 0xff);
        assert!(Capabilities::of(&space).is_express);
    }
}
