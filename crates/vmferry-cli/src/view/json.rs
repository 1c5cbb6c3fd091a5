//! A device's state as JSON: `docs/json.md` describes it.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use vmferry::wire::vmstate::{Field, Key, State, Value};

/// A state that serialises as the tree that it is.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'s, 'a>(pub &'s State<'a>);

impl Serialize for Tree<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let state = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", state.name)?;
        map.serialize_entry("version", &state.version)?;
        map.serialize_entry("fields", &Each(&state.fields, JsonField))?;
        if !state.subsections.is_empty() {
            map.serialize_entry("subsections", &Each(&state.subsections, Tree))?;
        }
        map.end()
    }
}

/// A list, each element by way of a wrapper.
struct Each<'s, T, F>(&'s [T], F);

impl<'s, T, W: Serialize, F: Fn(&'s T) -> W> Serialize for Each<'s, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for element in self.0 {
            list.serialize_element(&(self.1)(element))?;
        }
        list.end()
    }
}

struct JsonField<'s, 'a>(&'s Field<'a>);

impl Serialize for JsonField<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let field = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", field.name)?;
        if let Some(index) = field.index {
            map.serialize_entry("index", &index)?;
        }
        map.serialize_entry("type", field.kind)?;
        map.serialize_entry("at", &field.at)?;
        map.serialize_entry("bytes", &field.bytes.len())?;
        map.serialize_entry("value", &JsonValue(&field.value, field.bytes))?;
        map.end()
    }
}

/// A value; with its encoding, which says what it is where nobody knows its meaning.
pub(crate) struct JsonValue<'s, 'a>(pub(crate) &'s Value<'a>, pub(crate) &'a [u8]);

impl Serialize for JsonValue<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Unsigned(value) => serializer.serialize_u64(*value),
            Value::Signed(value) => serializer.serialize_i64(*value),
            Value::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::Float(value) => serializer.collect_str(value),
            Value::Timer(expiry) => expiry.serialize(serializer),
            Value::Null => serializer.serialize_none(),
            Value::Struct(state) => Tree(state).serialize(serializer),
            Value::List(list) => Each(list, Tree).serialize(serializer),
            Value::Tree(entries) => Each(entries, Entry).serialize(serializer),
            _ => serializer.collect_str(&Hex(self.1)),
        }
    }
}

/// An entry of a tree.
struct Entry<'s, 'a>(&'s (Key<'a>, State<'a>));

impl Serialize for Entry<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, state) = self.0;
        let mut map = serializer.serialize_map(Some(2))?;
        match key {
            Key::Direct(key) => map.serialize_entry("key", key)?,
            Key::Struct(key) => map.serialize_entry("key", &Tree(key))?,
        }
        map.serialize_entry("value", &Tree(state))?;
        map.end()
    }
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
