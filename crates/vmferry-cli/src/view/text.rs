//! A device's state as text: a line for each field, indented below what it is part of.

use std::fmt::{self, Write};
use std::ops::Range;

use vmferry::wire::vmstate::{Field, Key, State, Value};

use super::json::Hex;
use super::path::{key_label, label};
use crate::ui::in_line;

/// Bytes of a field that are shown in its own line.
const IN_LINE: usize = 16;

/// Rows of bytes of one field that are shown; QEMU's largest registers (a page of PCI Express
/// configuration) fit.
const ROWS: usize = 256;

/// The widest column of labels that values are aligned behind.
const WIDEST: usize = 36;

/// Elements of an array that are alike are shown as one line, if there are so many in a row.
const ALIKE: usize = 3;

/// Writes a state as a tree.
///
/// # Errors
/// `f` takes no more.
pub fn write_tree(state: &State<'_>, f: &mut impl Write) -> fmt::Result {
    let mut rows = Rows::default();
    rows.state(state, 0);
    rows.write(f)
}

/// Writes bytes in rows of sixteen.
///
/// # Errors
/// `f` takes no more.
pub(crate) fn write_dump(bytes: &[u8], f: &mut impl Write) -> fmt::Result {
    let mut rows = Rows::default();
    rows.dump(bytes, 0);
    rows.write(f)
}

#[derive(Default)]
struct Rows(Vec<Row>);

struct Row {
    label: String,
    kind: String,
    value: String,
}

impl Rows {
    fn write(&self, f: &mut impl Write) -> fmt::Result {
        let width = |part: fn(&Row) -> usize| self.0.iter().map(part).max().unwrap_or(0);
        let labels = width(|row| row.label.chars().count()).min(WIDEST);
        let kinds = width(|row| row.kind.len()).min(14);
        for row in &self.0 {
            if row.label.is_empty() {
                writeln!(f, "{}", row.value)?;
                continue;
            }
            let line = format!(
                "{:<labels$}  {:<kinds$}  {}",
                row.label, row.kind, row.value
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn push(&mut self, depth: usize, label: &str, kind: &str, value: String) {
        self.0.push(Row {
            label: format!("{:indent$}{}", "", in_line(label), indent = 2 * depth),
            kind: in_line(kind).into_owned(),
            value: in_line(value).into_owned(),
        });
    }

    fn state(&mut self, state: &State<'_>, depth: usize) {
        let mut fields = state.fields.as_slice();
        while let Some((field, rest)) = fields.split_first() {
            let alike = 1 + rest.iter().take_while(|next| is_alike(field, next)).count();
            if alike >= ALIKE && field.index.is_some() {
                let first = field.index.unwrap_or_default();
                let label = format!("{}[{first}..{}]", field.name, first + alike as u64 - 1);
                match &field.value {
                    Value::Struct(state) => {
                        let name = format!("all alike: {}", named(state));
                        self.push(depth, &label, field.kind, name);
                        self.state(state, depth + 1);
                    }
                    _ => self.push(depth, &label, field.kind, format!("all {}", scalar(field))),
                }
                fields = &fields[alike..];
            } else {
                self.field(field, depth);
                fields = rest;
            }
        }
        for subsection in &state.subsections {
            let version = format!("version {}", subsection.version);
            self.push(depth, subsection.name, "subsection", version);
            self.state(subsection, depth + 1);
        }
    }

    fn field(&mut self, field: &Field<'_>, depth: usize) {
        let label = label(field);
        match &field.value {
            Value::Struct(state) => {
                self.push(depth, &label, field.kind, named(state));
                self.state(state, depth + 1);
            }
            Value::List(list) => {
                self.push(depth, &label, field.kind, elements(list.len()));
                for (at, state) in list.iter().enumerate() {
                    self.push(depth + 1, &format!("[{at}]"), "", named(state));
                    self.state(state, depth + 2);
                }
            }
            Value::Tree(tree) => {
                self.push(depth, &label, field.kind, elements(tree.len()));
                for (at, (key, state)) in tree.iter().enumerate() {
                    let label = format!("[{}]", key_label(at, key));
                    self.push(depth + 1, &label, "", named(state));
                    if let Key::Struct(key) = key {
                        self.push(depth + 2, "key", "", named(key));
                        self.state(key, depth + 3);
                    }
                    self.state(state, depth + 2);
                }
            }
            Value::Bytes if field.bytes.len() > IN_LINE && text(field.bytes).is_none() => {
                let size = format!("{} bytes", field.bytes.len());
                self.push(depth, &label, field.kind, size);
                self.dump(field.bytes, depth + 1);
            }
            _ => self.push(depth, &label, field.kind, scalar(field)),
        }
    }

    /// Bytes in rows of sixteen; rows of zeros are shown as one line.
    fn dump(&mut self, bytes: &[u8], depth: usize) {
        let indent = 2 * depth;
        let mut zeros: Option<Range<usize>> = None;
        let mut shown = 0;
        for (number, row) in bytes.chunks(IN_LINE).enumerate() {
            let at = number * IN_LINE;
            if row.iter().all(|byte| *byte == 0) {
                let start = zeros.map_or(at, |zeros| zeros.start);
                zeros = Some(start..at + row.len());
                continue;
            }
            self.zeros(zeros.take().as_ref(), indent);
            if shown == ROWS {
                let left = bytes.len() - at;
                self.line(format!("{:indent$}{left} bytes more: see --raw", ""));
                return;
            }
            shown += 1;
            let hex: Vec<_> = row.chunks(4).map(|word| Hex(word).to_string()).collect();
            let text: String = row.iter().map(|byte| printable(*byte)).collect();
            self.line(format!(
                "{:indent$}{at:04x}  {:<35}  {text}",
                "",
                hex.join(" ")
            ));
        }
        self.zeros(zeros.as_ref(), indent);
    }

    fn zeros(&mut self, zeros: Option<&Range<usize>>, indent: usize) {
        if let Some(Range { start, end }) = zeros {
            self.line(format!(
                "{:indent$}{start:04x}  {} bytes of zero",
                "",
                end - start
            ));
        }
    }

    /// A line without columns.
    fn line(&mut self, line: String) {
        self.0.push(Row {
            label: String::new(),
            kind: String::new(),
            value: line,
        });
    }
}

/// Whether two elements of an array would be shown alike.
fn is_alike(a: &Field<'_>, b: &Field<'_>) -> bool {
    let same = a.name == b.name && a.kind == b.kind && a.bytes == b.bytes;
    same && match (&a.value, &b.value) {
        (Value::Struct(a), Value::Struct(b)) => are_alike(a, b),
        (Value::List(_) | Value::Tree(_), _) => false,
        _ => a.bytes.len() <= IN_LINE,
    }
}

fn are_alike(a: &State<'_>, b: &State<'_>) -> bool {
    let same = a.name == b.name && a.version == b.version;
    same && a.fields.len() == b.fields.len()
        && a.subsections.len() == b.subsections.len()
        && a.fields.iter().zip(&b.fields).all(|(a, b)| is_alike(a, b))
        && a.subsections
            .iter()
            .zip(&b.subsections)
            .all(|(a, b)| are_alike(a, b))
}

fn named(state: &State<'_>) -> String {
    match state.name {
        "" => String::new(),
        name => format!("{name}, version {}", state.version),
    }
}

fn elements(count: usize) -> String {
    match count {
        0 => "no elements".into(),
        1 => "1 element".into(),
        count => format!("{count} elements"),
    }
}

fn printable(byte: u8) -> char {
    match byte {
        b' '..=b'~' => char::from(byte),
        _ => '.',
    }
}

fn scalar(field: &Field<'_>) -> String {
    show(&field.value, field.bytes)
}

/// Bytes that are a text: some letters, and zeros behind them.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().rposition(|byte| *byte != 0)?;
    let (text, zeros) = bytes.split_at_checked(end + 1)?;
    let is_text =
        text.len() > 3 && !zeros.is_empty() && text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    std::str::from_utf8(text).ok().filter(|_| is_text)
}

/// A value in few words, with nothing nested in it.
pub(crate) fn show(value: &Value<'_>, bytes: &[u8]) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Unsigned(value @ 0..10) => value.to_string(),
        // Addresses and masks say nothing in decimal.
        Value::Unsigned(value) if *value >= 1 << 40 => format!("{value:#x}"),
        Value::Unsigned(value) => format!("{value:#x} ({value})"),
        Value::Signed(value @ 10..) => format!("{value} ({value:#x})"),
        Value::Signed(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Timer(None) => "not armed".into(),
        Value::Timer(Some(expiry)) => {
            let (sign, ns) = (if *expiry < 0 { "-" } else { "" }, expiry.unsigned_abs());
            let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
            format!("expires at {sign}{seconds}.{rest:09} s")
        }
        Value::Null => "none".into(),
        _ if text(bytes).is_some() => format!("{:?}", text(bytes).unwrap_or_default()),
        _ if bytes.len() > IN_LINE => {
            let first = bytes.get(..IN_LINE).unwrap_or_default();
            format!("{}… ({} bytes)", Hex(first), bytes.len())
        }
        _ => Hex(bytes).to_string(),
    }
}
