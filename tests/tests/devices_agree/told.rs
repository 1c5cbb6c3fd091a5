//! What is told of a device, and what QEMU says, taken apart.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vmferry_tests::Vmferry;

/// The values of one device by their paths.
pub(crate) type Values = BTreeMap<String, Value>;

/// What is told of the devices in a file.
pub(crate) struct Told<'a> {
    pub(crate) vmferry: &'a Vmferry,
    pub(crate) stream: &'a Path,
    /// What is not as QEMU says.
    pub(crate) wrong: RefCell<Vec<String>>,
}

impl Told<'_> {
    pub(crate) fn agree(&self, what: &str, told: u64, said: u64) {
        if told != said {
            let wrong = format!("{what}: we tell {told:#x}, QEMU says {said:#x}");
            self.wrong.borrow_mut().push(wrong);
        }
    }

    pub(crate) fn device(&self, name: &str) -> Result<Values> {
        let stream = self.stream.to_str().context("a path")?;
        let told = self.vmferry.json(["inspect", stream, "--device", name])?;
        let mut values = Values::new();
        flatten(&told["state"], "", &mut values);
        ensure!(!values.is_empty(), "{name}: {told}");
        Ok(values)
    }
}

/// Takes a tree apart into paths, as QEMU writes them.
fn flatten(state: &Value, below: &str, values: &mut Values) {
    let list = |name: &str| state[name].as_array().cloned().unwrap_or_default();
    for field in list("fields") {
        let index = match field["index"].as_u64() {
            Some(index) => format!("[{index}]"),
            None => String::new(),
        };
        let path = format!("{below}{}{index}", field["name"].as_str().unwrap_or("?"));
        if field["value"].is_object() {
            flatten(&field["value"], &format!("{path}."), values);
        } else {
            values.insert(path, field["value"].clone());
        }
    }
    for subsection in list("subsections") {
        let name = subsection["name"].as_str().unwrap_or("?").to_owned();
        flatten(&subsection, &format!("{below}{name}."), values);
    }
}

pub(crate) fn number(values: &Values, path: &str) -> Result<u64> {
    let value = values.get(path).with_context(|| format!("no '{path}'"))?;
    let signed = || value.as_i64().map(|n| u64::from_be_bytes(n.to_be_bytes()));
    let number = value.as_u64().or_else(signed);
    number.with_context(|| format!("'{path}' is {value}"))
}

pub(crate) fn bytes(values: &Values, path: &str) -> Result<Vec<u8>> {
    let value = values.get(path).with_context(|| format!("no '{path}'"))?;
    let text = value
        .as_str()
        .with_context(|| format!("'{path}' is {value}"))?;
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    bytes.collect()
}

/// What stands behind `name=` in a text of QEMU's, up to the next blank.
pub(crate) fn said<'t>(text: &'t str, name: &str) -> Result<&'t str> {
    let mut words = text.match_indices(name).filter(|(at, _)| {
        // "FSW" is no "SW".
        !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric())
    });
    let (at, _) = words
        .next()
        .with_context(|| format!("no '{name}' in: {text}"))?;
    let rest = text[at + name.len()..].trim_start();
    Ok(rest.split_whitespace().next().unwrap_or_default())
}

pub(crate) fn hex(text: &str) -> Result<u64> {
    let digits = text.trim_start_matches("0x").trim_end_matches(',');
    u64::from_str_radix(digits, 16).with_context(|| format!("'{text}' is no number"))
}

pub(crate) fn u64_of(value: &Value, name: &str) -> Result<u64> {
    value[name]
        .as_u64()
        .with_context(|| format!("no {name} in {value}"))
}
