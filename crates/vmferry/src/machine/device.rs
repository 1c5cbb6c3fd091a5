//! One device's state: as a stream shows it, and as it is kept.

use std::ops::Range;

use crate::wire::section::{ElementType, FOOTER_LEN, SectionHeader, footer};

/// Where in the stream a device section stands, which decides where it must stand when it is sent
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before any RAM page (`…/virtio-mem-device-early`): the destination needs it to place them.
    Early,
    /// After RAM: every other device.
    Device,
}

/// How the end of a device section was found; the stream itself does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// From the sizes in the trailing description (vmdesc): certain.
    Vmdesc,
    /// By looking for the section's footer before something that can start an element: a guess.
    Footer,
}

/// One device's state: a FULL section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSection<'a> {
    /// The section's number within this stream.
    pub section_id: u32,
    /// Whose state it is: `timer`, `cpu`, `0000:00:1f.2/ich9_ahci`, …
    pub idstr: &'a str,
    /// Which of several owners of the same name.
    pub instance_id: u32,
    /// The version of the state's layout.
    pub version_id: u32,
    /// Early or ordinary.
    pub phase: Phase,
    /// How its end was found. An early section is shown before its description has come, and says
    /// [`Split::Footer`]; the pass fails later if the description disagrees.
    pub split: Split,
    /// The payload alone.
    pub payload: &'a [u8],
    /// The whole element, from its type byte to the end of its footer (where the stream has
    /// footers): what a replay sends.
    pub element: &'a [u8],
    /// Offset in the stream, in bytes, of the element's first byte.
    pub offset: u64,
}

/// One device's state: as it came, or [made](Self::new) from its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    header: SectionHeader,
    phase: Phase,
    /// The header, the payload, and a footer or none: exactly these.
    element: Vec<u8>,
    payload: Range<usize>,
}

/// A name that no section can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a device is named by 1 to 255 bytes of text without NUL, not by {0:?}")]
pub struct InvalidIdstr(Box<str>);

impl From<&DeviceSection<'_>> for DeviceState {
    fn from(section: &DeviceSection<'_>) -> Self {
        let header = SectionHeader {
            section_id: section.section_id,
            idstr: section.idstr.to_owned(),
            instance_id: section.instance_id,
            version_id: section.version_id,
        };
        let start = header.encoded_len();
        Self {
            payload: start..start + section.payload.len(),
            header,
            phase: section.phase,
            element: section.element.to_vec(),
        }
    }
}

impl DeviceState {
    /// The state of the device that `header` names, ending with a footer, as every machine type from 2.4 on has them.
    ///
    /// # Errors
    /// The device cannot have this name in a stream.
    pub fn new(header: SectionHeader, phase: Phase, payload: &[u8]) -> Result<Self, InvalidIdstr> {
        let name = &header.idstr;
        if name.is_empty() || name.len() > usize::from(u8::MAX) || name.contains('\0') {
            return Err(InvalidIdstr(header.idstr.into()));
        }
        let mut element = Vec::new();
        header.encode(ElementType::Full, &mut element);
        let start = element.len();
        element.extend_from_slice(payload);
        element.extend_from_slice(&footer(header.section_id));
        Ok(Self {
            payload: start..start + payload.len(),
            header,
            phase,
            element,
        })
    }

    /// The same state for a machine type before 2.4, whose sections end without a footer.
    #[must_use]
    pub fn without_footer(mut self) -> Self {
        self.element.truncate(self.payload.end);
        self
    }

    /// It as a pass shows it: as from a stream that says for certain where it ends, but not where it stood.
    pub fn section(&self) -> DeviceSection<'_> {
        DeviceSection {
            section_id: self.header.section_id,
            idstr: &self.header.idstr,
            instance_id: self.header.instance_id,
            version_id: self.header.version_id,
            phase: self.phase,
            split: Split::Vmdesc,
            payload: self.payload(),
            element: &self.element,
            offset: 0,
        }
    }

    /// Whose state it is.
    pub fn header(&self) -> &SectionHeader {
        &self.header
    }

    /// Before or after the RAM.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The whole element, from its type byte to the end of its footer.
    pub fn element(&self) -> &[u8] {
        &self.element
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        self.element.get(self.payload.clone()).unwrap_or_default()
    }

    pub(super) fn payload_mut(&mut self) -> &mut [u8] {
        let payload = self.element.get_mut(self.payload.clone());
        payload.unwrap_or_default()
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Whether the element ends with a footer; without one, its stream had none anywhere.
    pub fn has_footer(&self) -> bool {
        self.element.len() == self.payload.end + FOOTER_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Image, Options, VmDescRule, load};
    use crate::machine::MachineState;
    use crate::wire::SliceSource;

    fn golden(name: &str) -> MachineState {
        let folder = env!("CARGO_MANIFEST_DIR");
        let path = format!("{folder}/../../testdata/streams/{name}.stream.zst");
        let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        let options = Options {
            vmdesc: VmDescRule::Optional,
            ..Options::default()
        };
        let mut image = Image::default();
        load(&mut SliceSource::new(&bytes), &mut image, &options).unwrap();
        image.state
    }

    #[test]
    fn a_device_that_is_made_is_the_one_that_qemu_sends() {
        for (name, footers) in [("10.0-q35-vmem", true), ("7.2-pc-2.3", false)] {
            let state = golden(name);
            assert!(!state.devices.is_empty());
            for device in &state.devices {
                let header = device.header().clone();
                let mut made = DeviceState::new(header, device.phase(), device.payload()).unwrap();
                if !footers {
                    made = made.without_footer();
                }
                assert_eq!(made, *device, "{name}");
                assert_eq!(made.has_footer(), footers, "{name}");
            }
        }
    }

    #[test]
    fn a_name_that_no_section_can_have_is_refused() {
        for name in ["", "a\0b", &"a".repeat(256)] {
            let header = SectionHeader {
                section_id: 1,
                idstr: name.to_owned(),
                instance_id: 0,
                version_id: 1,
            };
            let made = DeviceState::new(header, Phase::Device, b"state");
            assert!(made.unwrap_err().to_string().contains("1 to 255 bytes"));
        }
    }
}
