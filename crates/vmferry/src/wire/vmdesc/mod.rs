//! The description that trails a stream: a JSON text with every field of every device section.
//!
//! ```text
//! 00  06  u32 length  {"configuration": …, "page_size": 4096, "devices": [ … ]}
//! ```
//!
//! The stream itself does not tell where one device's state ends and the next one's begins; this
//! description does. [`locate`] finds it at the end of what has been read, a [`Finder`] wherever it is, and [`VmDesc::parse`]
//! takes from it the devices in stream order with the length of each payload, and the fields of each,
//! by which [`vmstate`](super::vmstate) takes the payload apart.

mod description;
mod finder;

use std::collections::HashMap;

use serde::Deserialize;

pub use description::{Field, Vmsd};
pub use finder::Finder;

use super::{FormatError, limits};
use crate::work;

/// The byte that begins the element.
#[doc(alias = "QEMU_VM_VMDESCRIPTION")]
pub const ELEMENT: u8 = 0x06;

/// Bytes before the JSON text: the element byte and the length.
pub const HEAD: usize = 5;

/// Where the element begins in `bytes`, which reach to the end of the stream; `None` if they do not
/// end with one.
///
/// It is found from its length alone: the JSON text reaches exactly to the end, begins with a brace,
/// and stands behind the byte that ends the elements.
pub fn locate(bytes: &[u8]) -> Option<usize> {
    // Looked for with the byte before it.
    const WITH_EOF: usize = 1 + HEAD;
    let last = bytes.len().checked_sub(WITH_EOF + 2)?;
    let first = last.saturating_sub(limits::VMDESC);
    let eof = (first..=last).rev().find(|eof| {
        if bytes.get(*eof) != Some(&0) {
            return false;
        }
        let tail = bytes.get(*eof..).unwrap_or_default();
        let Some(([0, ELEMENT, a, b, c, d], json)) = tail.split_first_chunk::<WITH_EOF>() else {
            return false;
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        length as usize == json.len() && json.first() == Some(&b'{')
    });
    eof.map(|eof| eof.saturating_add(1))
}

/// A description: the devices of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VmDesc {
    /// The target page size in bytes.
    #[serde(default)]
    pub page_size: Option<u64>,
    /// One entry for each FULL section, in stream order.
    pub devices: Vec<Device>,
}

/// One device section of a description.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Device {
    /// The section's idstr.
    pub name: String,
    /// The section's instance id.
    pub instance_id: u32,
    /// The section's version id; devices of the old style do not say it.
    #[serde(default)]
    pub version: Option<u32>,
    /// QEMU's name for this kind of state; devices of the old style have none.
    #[serde(default)]
    pub vmsd_name: String,
    /// In stream order.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// In stream order, behind the fields.
    #[serde(default)]
    pub subsections: Vec<Vmsd>,
}

impl VmDesc {
    /// Takes the description apart; `at` is the offset of the JSON text in the stream.
    ///
    /// # Errors
    /// It is no JSON, not what QEMU writes, or has more objects than [`limits::VMDESC_OBJECTS`].
    pub fn parse(json: &[u8], at: u64) -> Result<Self, FormatError> {
        // Three bytes of text can be an object of a hundred: they are counted before there are any.
        work::count(json.len());
        let objects = json.iter().filter(|byte| **byte == b'{').count();
        if objects > limits::VMDESC_OBJECTS {
            let what = "the list of objects in the description of the devices (vmdesc)";
            let limit = limits::VMDESC_OBJECTS as u64;
            return Err(FormatError::too_long(at, what, objects as u64, limit));
        }
        serde_json::from_slice(json).map_err(|error| {
            let what = "the description of the devices (vmdesc)";
            FormatError::unexpected(at, what, "the JSON text that QEMU writes", error)
        })
    }
}

impl VmDesc {
    /// The devices by their names and instances: of several alike, the first one.
    pub fn by_name(&self) -> HashMap<(&str, u32), &Device> {
        let mut by_name = HashMap::with_capacity(self.devices.len());
        for device in &self.devices {
            let name = (device.name.as_str(), device.instance_id);
            by_name.entry(name).or_insert(device);
        }
        by_name
    }
}

impl Device {
    /// Bytes of the section's payload; `None` if they are too many to count.
    pub fn payload_len(&self) -> Option<u64> {
        total(&self.fields, &self.subsections)
    }

    /// Whether the payload may have another length: QEMU 7.2 describes an array of pointers by its first element, as a
    /// structure of one byte without fields if that is null, whatever the others are.
    pub fn may_be_of_other_length(&self) -> bool {
        begin_with_null(&self.fields) || self.subsections.iter().any(Vmsd::has_null_first)
    }
}

impl Vmsd {
    fn has_null_first(&self) -> bool {
        begin_with_null(&self.fields) || self.subsections.iter().any(Self::has_null_first)
    }
}

fn begin_with_null(fields: &[Field]) -> bool {
    fields.iter().any(|field| {
        let is_empty = |nested: &Vmsd| nested.fields.is_empty() && nested.subsections.is_empty();
        let is_null = field.size == 1 && field.nested.iter().all(is_empty);
        let is_array = field.kind == "struct" && field.elements() > 1;
        is_array && is_null || field.nested.iter().any(Vmsd::has_null_first)
    })
}

/// A field's size covers all that is nested in it; a subsection's fields come without its header:
/// the byte 05, its name, and its version.
fn total(fields: &[Field], subsections: &[Vmsd]) -> Option<u64> {
    let fields = fields.iter().try_fold(0_u64, |sum, field| {
        sum.checked_add(field.size.checked_mul(field.elements())?)
    })?;
    subsections.iter().try_fold(fields, |sum, subsection| {
        const FIXED: u64 = 1 + 1 + 4;
        sum.checked_add(FIXED)?
            .checked_add(subsection.name.len() as u64)?
            .checked_add(total(&subsection.fields, &subsection.subsections)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(json: &str) -> Device {
        let text = format!(r#"{{"devices": [{json}]}}"#);
        VmDesc::parse(text.as_bytes(), 0).unwrap().devices.remove(0)
    }

    #[test]
    fn the_length_of_a_payload_is_that_of_its_fields_and_subsections() {
        let cpu_common = device(
            r#"{"name": "cpu_common", "instance_id": 0, "vmsd_name": "cpu_common", "version": 1,
                "fields": [{"name": "halted", "type": "uint32", "size": 4},
                           {"name": "interrupt_request", "type": "uint32", "size": 4}]}"#,
        );
        assert_eq!(cpu_common.payload_len(), Some(8));
        assert_eq!(cpu_common.version, Some(1));

        let nested = device(
            r#"{"name": "kbd", "instance_id": 0,
                "fields": [{"name": "a", "array_len": 3, "type": "struct", "size": 7, "struct":
                    {"vmsd_name": "x", "version": 1, "fields": [{"name": "b", "type": "?", "size": 99}]}}],
                "subsections": [{"vmsd_name": "kbd/ext", "version": 1,
                    "fields": [{"name": "c", "type": "uint8", "size": 1}],
                    "subsections": [{"vmsd_name": "kbd/ext/y", "version": 1, "fields": []}]}]}"#,
        );
        assert_eq!(nested.payload_len(), Some(21 + (6 + 7 + 1) + (6 + 9)));

        let old_style = device(
            r#"{"name": "slirp", "instance_id": 0, "size": 5,
                "fields": [{"name": "data", "size": 5, "type": "buffer"}]}"#,
        );
        assert_eq!(old_style.payload_len(), Some(5));
    }

    #[test]
    fn sizes_that_cannot_be_are_no_length_and_text_that_is_no_json_is_refused() {
        let field = r#"{"name": "a", "type": "?", "size": 18446744073709551615, "array_len": 2}"#;
        let huge = format!(r#"{{"name": "a", "instance_id": 0, "fields": [{field}]}}"#);
        assert_eq!(device(&huge).payload_len(), None);
        let error = VmDesc::parse(b"{\"devices\": [", 0x100)
            .unwrap_err()
            .to_string();
        assert!(error.contains("at offset 0x100"), "{error}");
    }

    #[test]
    fn a_text_of_empty_objects_does_not_grow_in_memory() {
        let state = |objects| {
            let empty = vec!["{}"; objects].join(",");
            format!(
                r#"{{"devices": [{{"name": "a", "instance_id": 0, "subsections": [{empty}]}}]}}"#
            )
        };
        let most = limits::VMDESC_OBJECTS - 2;
        let vmdesc = VmDesc::parse(state(most).as_bytes(), 0).unwrap();
        assert_eq!(vmdesc.devices[0].subsections.len(), most);
        let error = VmDesc::parse(state(most + 1).as_bytes(), 0x100).unwrap_err();
        assert!(error.to_string().contains("the limit is"), "{error}");
    }

    #[test]
    fn the_element_is_found_by_its_length_also_where_a_length_byte_looks_like_a_brace() {
        let json = format!("{{{}}}", " ".repeat(0x7b - 2));
        let mut bytes = b"\x04some device state {\0\x06\0\0\0\x02{}".to_vec();
        bytes.push(0);
        let start = bytes.len();
        bytes.push(ELEMENT);
        bytes.extend(0x7b_u32.to_be_bytes());
        bytes.extend(json.as_bytes());
        assert_eq!(locate(&bytes), Some(start));
        for end in 0..bytes.len() {
            assert!(
                locate(&bytes[..end]).is_none_or(|found| found < start),
                "{end}"
            );
        }
        bytes.push(0);
        assert_eq!(locate(&bytes), None);
        let mut finder = Finder::default();
        let last = std::iter::from_fn(|| finder.next(&bytes)).last();
        assert_eq!(last, Some(start..bytes.len() - 1));
    }
}
