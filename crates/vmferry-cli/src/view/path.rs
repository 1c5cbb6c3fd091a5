//! Where a value is in a device's state, in QEMU's way of writing it: `channels[0].count`.
//!
//! A subsection's values stand below its name, which begins with that of the state that it belongs to:
//! `cpu/msr_tsc_deadline.env.tsc_deadline`. Names of fields have points and brackets of their own, so a
//! path is not taken apart but followed.

use vmferry::wire::vmstate::{Field, Key, State, Value};

/// A value with nothing nested in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf<'s, 'a> {
    /// Where it is.
    pub path: String,
    /// QEMU's name for its encoding.
    pub kind: &'s str,
    /// Its encoding.
    pub bytes: &'a [u8],
    /// What it holds.
    pub value: &'s Value<'a>,
}

/// The name of a field, with the number of the element.
pub(crate) fn label(field: &Field<'_>) -> String {
    match field.index {
        None => field.name.to_owned(),
        Some(index) => format!("{}[{index}]", field.name),
    }
}

/// The label of an entry of a tree.
pub(crate) fn key_label(at: usize, key: &Key<'_>) -> String {
    match key {
        Key::Direct(key) => format!("{key:#x}"),
        Key::Struct(_) => at.to_string(),
    }
}

/// All values of a state that have nothing nested in them, in stream order.
pub fn leaves<'s, 'a>(state: &'s State<'a>) -> Vec<Leaf<'s, 'a>> {
    let mut leaves = Vec::new();
    of_state(state, "", &mut leaves);
    leaves
}

fn of_state<'s, 'a>(state: &'s State<'a>, below: &str, leaves: &mut Vec<Leaf<'s, 'a>>) {
    for field in &state.fields {
        let path = format!("{below}{}", label(field));
        match &field.value {
            Value::Struct(state) => of_state(state, &format!("{path}."), leaves),
            Value::List(list) => {
                for (at, state) in list.iter().enumerate() {
                    of_state(state, &format!("{path}[{at}]."), leaves);
                }
            }
            Value::Tree(tree) => {
                for (at, (key, state)) in tree.iter().enumerate() {
                    let path = format!("{path}[{}]", key_label(at, key));
                    if let Key::Struct(key) = key {
                        of_state(key, &format!("{path}.key."), leaves);
                    }
                    of_state(state, &format!("{path}."), leaves);
                }
            }
            value => leaves.push(Leaf {
                path,
                kind: field.kind,
                bytes: field.bytes,
                value,
            }),
        }
    }
    for subsection in &state.subsections {
        of_state(subsection, &format!("{below}{}.", subsection.name), leaves);
    }
}

/// The field at `path`: `env.regs[0]`, `channels[0].count`.
pub fn lookup<'s, 'a>(state: &'s State<'a>, path: &str) -> Option<&'s Field<'a>> {
    let in_fields = state.fields.iter().find_map(|field| {
        let label = label(field);
        let rest = path.strip_prefix(label.as_str())?;
        match (&field.value, rest) {
            (_, "") => Some(field),
            (Value::Struct(state), rest) => lookup(state, rest.strip_prefix('.')?),
            (Value::List(list), rest) => list.iter().enumerate().find_map(|(at, state)| {
                lookup(state, rest.strip_prefix(format!("[{at}].").as_str())?)
            }),
            (Value::Tree(tree), rest) => tree.iter().enumerate().find_map(|(at, (key, state))| {
                let rest = rest.strip_prefix(format!("[{}].", key_label(at, key)).as_str())?;
                match (key, rest.strip_prefix("key.")) {
                    (Key::Struct(key), Some(rest)) => lookup(key, rest),
                    _ => lookup(state, rest),
                }
            }),
            _ => None,
        }
    });
    in_fields.or_else(|| {
        state.subsections.iter().find_map(|subsection| {
            let rest = path.strip_prefix(subsection.name)?;
            lookup(subsection, rest.strip_prefix('.')?)
        })
    })
}
