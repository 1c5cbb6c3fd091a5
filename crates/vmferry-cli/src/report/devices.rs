//! The state of the devices as a tree for the page's script: `[label, kind, value]`, or
//! `[label, kind, value, [children…]]`.

use anyhow::Result;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use vmferry::wire::vmstate::{Field, State, Value};

use super::html;
use crate::ui;
use crate::view::devices::{Device, Devices};
use crate::view::{Hex, key_label, label, show};

/// A line of the tree, and what is below it.
struct Node {
    label: String,
    kind: String,
    value: String,
    children: Vec<Self>,
}

impl Node {
    fn new(label: &str, kind: &str, value: &str) -> Self {
        Self {
            label: html::shown(label),
            kind: html::shown(kind),
            value: html::shown(value),
            children: Vec::new(),
        }
    }

    fn with(mut self, children: Vec<Self>) -> Self {
        self.children = children;
        self
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        list.serialize_element(&self.label)?;
        list.serialize_element(&self.kind)?;
        list.serialize_element(&self.value)?;
        if !self.children.is_empty() {
            list.serialize_element(&self.children)?;
        }
        list.end()
    }
}

/// The tree as JSON for a script element, and what could not be decoded.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) json: String,
    /// Lines of the tree.
    pub(super) values: u64,
    /// A sentence for each device whose values have no names.
    pub(super) warnings: Vec<String>,
}

impl Tree {
    /// The tree of all devices. One is in memory at a time.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub(super) fn of(devices: &Devices<'_>) -> Result<Self> {
        let mut tree = Self::default();
        tree.json.push('[');
        for device in devices.iter() {
            if tree.json.len() > 1 {
                tree.json.push(',');
            }
            let node = tree.device(device);
            tree.values += count(&node);
            tree.json.push_str(&html::json(&node)?);
        }
        tree.json.push(']');
        Ok(tree)
    }

    fn device(&mut self, device: Device<'_>) -> Node {
        let header = device.section.header();
        let payload = device.section.payload();
        let version = format!(
            "version {}, {}",
            header.version_id,
            ui::bytes(payload.len() as u64)
        );
        let name = device.name().to_string();
        let node = Node::new(&name, "", &version);
        match device.decode() {
            Ok(state) => node.with(of_state(&state)),
            Err(error) => {
                self.warnings.push(format!("device {name}: {error}"));
                node.with(vec![bytes("bytes", "not decoded", payload)])
            }
        }
    }
}

fn count(node: &Node) -> u64 {
    1 + node.children.iter().map(count).sum::<u64>()
}

fn of_state(state: &State<'_>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut fields = state.fields.as_slice();
    while let Some(first) = fields.first() {
        let elements = fields
            .iter()
            .take_while(|field| field.index.is_some() && field.name == first.name)
            .count();
        if elements >= ARRAY {
            let (array, rest) = fields.split_at(elements);
            let value = format!("{elements} elements");
            let node = Node::new(&format!("{}[]", first.name), first.kind, &value);
            nodes.push(node.with(array.iter().map(of_field).collect()));
            fields = rest;
        } else {
            nodes.push(of_field(first));
            fields = &fields[1..];
        }
    }
    let below = state.subsections.iter().map(|subsection| {
        let version = format!("version {}", subsection.version);
        Node::new(subsection.name, "subsection", &version).with(of_state(subsection))
    });
    nodes.extend(below);
    nodes
}

fn of_field(field: &Field<'_>) -> Node {
    let label = label(field);
    let node = |value: &str| Node::new(&label, field.kind, value);
    let elements = |count: usize| match count {
        1 => "1 element".to_owned(),
        count => format!("{count} elements"),
    };
    match &field.value {
        Value::Struct(state) => node(state.name).with(of_state(state)),
        Value::List(list) => {
            let children = list.iter().enumerate().map(|(at, state)| {
                Node::new(&format!("[{at}]"), "", state.name).with(of_state(state))
            });
            node(&elements(list.len())).with(children.collect())
        }
        Value::Tree(tree) => {
            let children = tree.iter().enumerate().map(|(at, (key, state))| {
                let label = format!("[{}]", key_label(at, key));
                Node::new(&label, "", state.name).with(of_state(state))
            });
            node(&elements(tree.len())).with(children.collect())
        }
        Value::Bytes if field.bytes.len() > IN_LINE => bytes(&label, field.kind, field.bytes),
        value => node(&show(value, field.bytes)),
    }
}

/// Bytes, as rows of sixteen.
fn bytes(label: &str, kind: &str, bytes: &[u8]) -> Node {
    let mut rows = Vec::new();
    let mut zeros = 0_usize;
    let zero_row = |zeros: usize, end: usize| {
        let at = format!("{:04x}", end - zeros);
        Node::new(&at, "", &format!("{zeros} bytes of zero"))
    };
    for (number, row) in bytes.chunks(IN_LINE).enumerate() {
        let at = number * IN_LINE;
        if row.iter().all(|byte| *byte == 0) {
            zeros += row.len();
            continue;
        }
        if zeros > 0 {
            rows.push(zero_row(zeros, at));
            zeros = 0;
        }
        if rows.len() >= ROWS {
            let left = format!("{} bytes more", bytes.len() - at);
            rows.push(Node::new(&format!("{at:04x}"), "", &left));
            break;
        }
        let words: Vec<_> = row.chunks(4).map(|word| Hex(word).to_string()).collect();
        let text: String = row
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            })
            .collect();
        let value = format!("{:<35}  {text}", words.join(" "));
        rows.push(Node::new(&format!("{at:04x}"), "", &value));
    }
    if zeros > 0 {
        rows.push(zero_row(zeros, bytes.len()));
    }
    Node::new(label, kind, &format!("{} bytes", bytes.len())).with(rows)
}

/// So many elements of an array stand below a line of their own.
const ARRAY: usize = 9;

/// Bytes in a row.
const IN_LINE: usize = 16;

/// Rows of bytes of one field.
const ROWS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &'static str, index: Option<u64>) -> Field<'static> {
        Field {
            name,
            kind: "uint8",
            index,
            at: 0,
            bytes: &[7],
            value: Value::Unsigned(7),
        }
    }

    fn json(nodes: &[Node]) -> String {
        serde_json::to_string(nodes).unwrap()
    }

    #[test]
    fn a_long_array_stands_below_a_line_of_its_own() {
        let mut fields = vec![number("first", None)];
        fields.extend((0..20).map(|index| number("array", Some(index))));
        fields.extend((0..2).map(|index| number("short", Some(index))));
        let below = State {
            name: "dev/more",
            version: 3,
            fields: vec![number("last", None)],
            subsections: Vec::new(),
        };
        let state = State {
            name: "dev",
            version: 1,
            fields,
            subsections: vec![below],
        };
        let nodes = of_state(&state);
        let labels: Vec<_> = nodes.iter().map(|node| node.label.as_str()).collect();
        assert_eq!(
            labels,
            ["first", "array[]", "short[0]", "short[1]", "dev/more"]
        );
        assert_eq!(nodes[1].children.len(), 20);
        assert_eq!(count(&nodes[1]), 21);
        let last = r#"["dev/more","subsection","version 3",[["last","uint8","7"]]]"#;
        assert!(json(&nodes).ends_with(&format!("{last}]")));
    }

    #[test]
    fn bytes_are_rows_and_zeros_are_one() {
        let mut content = vec![0; 70];
        content[32..37].copy_from_slice(b"hello");
        let node = bytes("buf", "buffer", &content);
        let expected = r#"[["buf","buffer","70 bytes",[["0000","","32 bytes of zero"],"#.to_owned()
            + r#"["0020","","68656c6c 6f000000 00000000 00000000  hello..........."],"#
            + r#"["0030","","22 bytes of zero"]]]]"#;
        assert_eq!(json(&[node]), expected);
    }

    #[test]
    fn endless_bytes_have_an_end() {
        let node = bytes("buf", "buffer", &[1; 100_000]);
        assert_eq!(node.children.len(), ROWS + 1);
        let last = node.children.last().unwrap();
        assert_eq!(last.value, format!("{} bytes more", 100_000 - 16 * ROWS));
    }
}
