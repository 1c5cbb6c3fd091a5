//! The description of one device's state: which fields there are, in which order, how large.
//!
//! Where a field holds a list or a tree, QEMU writes the description of each element into the one
//! JSON object of the field, so its keys repeat. A map that keeps the last of them would lose all
//! elements but one: fields are read as ordered pairs.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// What a state consists of: its fields, and behind them its subsections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[doc(alias = "VMStateDescription")]
pub struct Vmsd {
    /// QEMU's name for this kind of state; a subsection's begins with that of the state it belongs
    /// to. Empty for a device of the old style.
    #[serde(default, rename = "vmsd_name")]
    pub name: String,
    /// The version of this kind of state.
    #[serde(default)]
    pub version: u32,
    /// In stream order.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// In stream order, behind the fields.
    #[serde(default)]
    pub subsections: Vec<Self>,
}

/// One field of a state, or a run of array elements that are alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    /// The name of the member of QEMU's structure.
    pub name: String,
    /// QEMU's name for the way in which it is encoded (`uint32`, `struct`, `timer`, …).
    pub kind: String,
    /// Bytes of one element, with everything nested in it.
    pub size: u64,
    /// So many elements follow each other, all described alike.
    pub array_len: Option<u64>,
    /// The states that are nested in it: one for a structure, one for each element of a list, one
    /// for each key and value of a tree.
    pub nested: Vec<Vmsd>,
}

impl Field {
    /// How many elements it stands for.
    pub fn elements(&self) -> u64 {
        self.array_len.unwrap_or(1)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Name,
    Type,
    Size,
    ArrayLen,
    Struct,
    VmsdName,
    Version,
    Fields,
    Subsections,
    #[serde(other)]
    Other,
}

struct Pairs;

/// The parts of a nested state that stand directly in the field's object.
#[derive(Default)]
struct Parts {
    name: Option<String>,
    version: Option<u32>,
    fields: Option<Vec<Field>>,
    subsections: Option<Vec<Vmsd>>,
}

impl Parts {
    fn into_vmsd(self) -> Option<Vmsd> {
        let is_one = self.name.is_some() || self.fields.is_some();
        is_one.then(|| Vmsd {
            name: self.name.unwrap_or_default(),
            version: self.version.unwrap_or_default(),
            fields: self.fields.unwrap_or_default(),
            subsections: self.subsections.unwrap_or_default(),
        })
    }
}

/// Sets a part; a key that was there already begins the next element.
fn set<T>(
    parts: &mut Parts,
    done: &mut Vec<Vmsd>,
    part: fn(&mut Parts) -> &mut Option<T>,
    value: T,
) {
    if part(parts).is_some() {
        done.extend(std::mem::take(parts).into_vmsd());
    }
    *part(parts) = Some(value);
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the description of a field")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        let mut field = Field::default();
        let mut size = None;
        let mut parts = Parts::default();
        let done = &mut field.nested;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Name => field.name = map.next_value()?,
                Key::Type => field.kind = map.next_value()?,
                Key::Size => size = Some(map.next_value()?),
                Key::ArrayLen => field.array_len = Some(map.next_value()?),
                Key::Struct => done.push(map.next_value()?),
                Key::VmsdName => {
                    set(&mut parts, done, |parts| &mut parts.name, map.next_value()?);
                }
                Key::Version => {
                    set(
                        &mut parts,
                        done,
                        |parts| &mut parts.version,
                        map.next_value()?,
                    );
                }
                Key::Fields => {
                    set(
                        &mut parts,
                        done,
                        |parts| &mut parts.fields,
                        map.next_value()?,
                    );
                }
                Key::Subsections => {
                    let value = map.next_value()?;
                    set(&mut parts, done, |parts| &mut parts.subsections, value);
                }
                // Among them `index`: the last element of an array has none in QEMU 10.0.
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        done.extend(parts.into_vmsd());
        field.size = size.ok_or_else(|| serde::de::Error::missing_field("size"))?;
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_repeat_describe_one_element_each() {
        let field: Field = serde_json::from_str(
            r#"{"name": "requests", "type": "qtailq",
                "vmsd_name": "a", "version": 1, "fields": [{"name": "x", "type": "uint8", "size": 1}],
                "subsections": [{"vmsd_name": "a/s", "version": 3, "fields": []}],
                "vmsd_name": "a", "version": 1, "fields": [{"name": "y", "type": "uint8", "size": 1}],
                "fields": [], "index": 4, "size": 9}"#,
        )
        .unwrap();
        let names = |vmsd: &Vmsd| {
            let fields = vmsd.fields.iter().map(|field| field.name.clone());
            fields.collect::<Vec<_>>()
        };
        assert_eq!(
            field.nested.iter().map(names).collect::<Vec<_>>(),
            [vec!["x"], vec!["y"], vec![]]
        );
        assert_eq!(field.nested[0].subsections[0].version, 3);
        assert_eq!((field.kind.as_str(), field.size), ("qtailq", 9));
    }

    #[test]
    fn a_structure_is_nested_once_and_a_size_is_never_missing() {
        let field: Field = serde_json::from_str(
            r#"{"size": 1, "struct": {"fields": [], "vmsd_name": "v", "version": 2},
                "array_len": 3, "name": "s", "type": "struct"}"#,
        )
        .unwrap();
        assert_eq!(field.nested.len(), 1);
        assert_eq!((field.nested[0].name.as_str(), field.elements()), ("v", 3));
        let error = serde_json::from_str::<Field>(r#"{"name": "s"}"#).unwrap_err();
        assert!(error.to_string().contains("size"), "{error}");
    }
}
