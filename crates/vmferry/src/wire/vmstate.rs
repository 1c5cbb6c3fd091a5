//! A device's state, taken apart along its description.
//!
//! A payload is nothing but the values of its fields one behind the other, without tags or lengths;
//! then its subsections:
//!
//! ```text
//! field*  subsection*          subsection = 05  u8 length  name  u32 version  field*  subsection*
//! ```
//!
//! Only the [description](super::vmdesc) tells which fields there are. [`decode`] follows it, and
//! holds it against the payload: a payload that it does not use up to its last byte, or a size that
//! is not that of what is nested, is an error.

use super::vmdesc::{self, Device, Vmsd};
use super::{FormatError, SliceSource, Source, limits};
use crate::work;

/// The byte that begins a subsection.
#[doc(alias = "QEMU_VM_SUBSECTION")]
pub const SUBSECTION: u8 = 0x05;

/// What stands for an element that is not there, in an array of pointers.
const NULL: u8 = b'0';

/// The state of a device, or of a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct State<'a> {
    /// QEMU's name for this kind of state; empty for a device of the old style.
    pub name: &'a str,
    /// The version of this kind of state.
    pub version: u32,
    /// In stream order.
    pub fields: Vec<Field<'a>>,
    /// In stream order.
    pub subsections: Vec<Self>,
}

/// One field, or one element of an array.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<'a> {
    /// The name of the member of QEMU's structure.
    pub name: &'a str,
    /// QEMU's name for its encoding.
    pub kind: &'a str,
    /// Which element of an array of this name it is.
    pub index: Option<u64>,
    /// Its offset in bytes in the payload.
    pub at: usize,
    /// Its encoding, with everything nested in it.
    pub bytes: &'a [u8],
    /// What it holds.
    pub value: Value<'a>,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Yes or no.
    Bool(bool),
    /// An unsigned number.
    Unsigned(u64),
    /// A number with a sign.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// When a timer expires, in ns of its clock; `None` if it is not armed.
    Timer(Option<i64>),
    /// An element of an array of pointers that is not there.
    Null,
    /// A structure.
    Struct(State<'a>),
    /// The elements of a list.
    List(Vec<State<'a>>),
    /// The keys and values of a tree.
    Tree(Vec<(Key<'a>, State<'a>)>),
    /// Bytes whose meaning is the device's own business.
    Bytes,
}

/// What an entry of a tree is found by.
#[derive(Debug, Clone, PartialEq)]
pub enum Key<'a> {
    /// A number.
    Direct(u64),
    /// A structure.
    Struct(State<'a>),
}

/// Takes `payload` apart, which stands at offset `at` in its stream.
///
/// # Errors
/// The payload is not what `device` describes, or has more values than
/// [`limits::VMSTATE_VALUES`], or far more than it has bytes.
pub fn decode<'a>(
    device: &'a Device,
    payload: &'a [u8],
    at: u64,
) -> Result<State<'a>, FormatError> {
    let mut decoder = Decoder {
        payload,
        at,
        pos: 0,
        values: 0,
        limit: most_values(device, payload.len()),
    };
    let version = device.version.unwrap_or_default();
    let state = decoder
        .state(
            &device.vmsd_name,
            version,
            &device.fields,
            &device.subsections,
        )
        .and_then(|state| {
            let left = payload.len().saturating_sub(decoder.pos);
            if left > 0 {
                let found = format!("{left} bytes more");
                return Err(decoder.unexpected("its end, as described", found));
            }
            Ok(state)
        });
    state.map_err(|error| error.in_section(&device.name))
}

struct Decoder<'a> {
    payload: &'a [u8],
    /// Where the payload stands in the stream.
    at: u64,
    pos: usize,
    values: usize,
    limit: usize,
}

/// How many values a payload of this length may have. What is nested in an array is described once and there many
/// times, also where it takes no bytes: a short description of a short payload could stand for any number of values.
fn most_values(device: &Device, payload: usize) -> usize {
    const FEW: usize = 1 << 12;
    const OF_EACH: usize = 16;
    let described = described(&device.fields, &device.subsections);
    work::count(described);
    let most = payload.saturating_add(described).saturating_mul(OF_EACH);
    most.saturating_add(FEW).min(limits::VMSTATE_VALUES)
}

/// How many fields and structures there are in a description.
fn described(fields: &[vmdesc::Field], subsections: &[Vmsd]) -> usize {
    let in_state = |state: &Vmsd| described(&state.fields, &state.subsections).saturating_add(1);
    let nested = fields.iter().map(|field| {
        let nested = field.nested.iter().map(in_state);
        nested.fold(1, usize::saturating_add)
    });
    let below = subsections.iter().map(in_state);
    nested.chain(below).fold(0, usize::saturating_add)
}

type Result<T, E = FormatError> = std::result::Result<T, E>;

impl<'a> Decoder<'a> {
    fn nested(&mut self, vmsd: &'a Vmsd) -> Result<State<'a>> {
        self.state(&vmsd.name, vmsd.version, &vmsd.fields, &vmsd.subsections)
    }

    fn state(
        &mut self,
        name: &'a str,
        version: u32,
        described: &'a [vmdesc::Field],
        subsections: &'a [Vmsd],
    ) -> Result<State<'a>> {
        self.count()?;
        let mut fields = Vec::new();
        let mut before: Option<&str> = None;
        let mut next_index = 0_u64;
        let mut described = described.iter().peekable();
        while let Some(field) = described.next() {
            // Elements of one array that are not alike are described one by one, or in runs.
            let goes_on = before == Some(&field.name);
            let more_follow = described.peek().is_some_and(|next| next.name == field.name);
            let is_array = field.array_len.is_some() || goes_on || more_follow;
            if !goes_on {
                next_index = 0;
            }
            for _ in 0..field.elements() {
                fields.push(self.field(field, is_array.then_some(next_index))?);
                next_index = next_index.saturating_add(1);
            }
            before = Some(&field.name);
        }
        let subsections = subsections.iter().map(|vmsd| self.subsection(vmsd));
        Ok(State {
            name,
            version,
            fields,
            subsections: subsections.collect::<Result<_>>()?,
        })
    }

    fn field(&mut self, field: &'a vmdesc::Field, index: Option<u64>) -> Result<Field<'a>> {
        self.count()?;
        let at = self.pos;
        let rest = self.payload.get(at..).unwrap_or_default();
        let size = usize::try_from(field.size).unwrap_or(usize::MAX);
        let Some(bytes) = rest.get(..size) else {
            let found = format!("{} bytes more", rest.len());
            return Err(self.unexpected(format!("{size} bytes of '{}'", field.name), found));
        };
        let value = self.value(field, bytes)?;
        let end = at.saturating_add(size);
        if self.pos != end {
            let found = format!("{} bytes nested in it", self.pos.saturating_sub(at));
            self.pos = at;
            return Err(self.unexpected(format!("{size} bytes of '{}'", field.name), found));
        }
        Ok(Field {
            name: &field.name,
            kind: &field.kind,
            index,
            at,
            bytes,
            value,
        })
    }

    /// The value in `bytes`, which come next; moves behind what was decoded.
    fn value(&mut self, field: &'a vmdesc::Field, bytes: &'a [u8]) -> Result<Value<'a>> {
        match (field.kind.as_str(), field.nested.as_slice()) {
            ("struct" | "vstruct" | "tmp", [vmsd]) => Ok(Value::Struct(self.nested(vmsd)?)),
            ("qtailq" | "qlist", elements) => self.list(elements),
            ("gtree", elements) => self.tree(elements, bytes),
            (kind, _) => {
                self.pos = self.pos.saturating_add(bytes.len());
                Ok(scalar(kind, bytes).unwrap_or(Value::Bytes))
            }
        }
    }

    fn list(&mut self, elements: &'a [Vmsd]) -> Result<Value<'a>> {
        let mut list = Vec::new();
        for vmsd in elements {
            self.byte(1, "the byte before an element of a list")?;
            list.push(self.nested(vmsd)?);
        }
        self.byte(0, "the byte that ends a list")?;
        Ok(Value::List(list))
    }

    /// Keys are described only where they are structures.
    fn tree(&mut self, elements: &'a [Vmsd], bytes: &'a [u8]) -> Result<Value<'a>> {
        let count = self.read(|source| source.be32("the size of a tree"))? as usize;
        let direct = elements.len() == count;
        if !direct && elements.len() != count.saturating_mul(2) {
            // Not described in a way that we know; its size is right all the same.
            self.pos = self.pos.saturating_sub(4).saturating_add(bytes.len());
            return Ok(Value::Bytes);
        }
        let mut elements = elements.iter();
        let mut tree = Vec::new();
        while !elements.as_slice().is_empty() {
            self.byte(1, "the byte before an element of a tree")?;
            let key = if direct {
                Key::Direct(self.read(|source| source.be64("a key of a tree"))?)
            } else if let Some(vmsd) = elements.next() {
                Key::Struct(self.nested(vmsd)?)
            } else {
                break;
            };
            if let Some(vmsd) = elements.next() {
                tree.push((key, self.nested(vmsd)?));
            }
        }
        self.byte(0, "the byte that ends a tree")?;
        Ok(Value::Tree(tree))
    }

    fn subsection(&mut self, vmsd: &'a Vmsd) -> Result<State<'a>> {
        self.byte(SUBSECTION, "the byte that begins a subsection")?;
        let len = self.read(|source| source.u8("the length of a subsection's name"))?;
        let at = self.pos;
        let name = self.read(|source| {
            let name = source.take(usize::from(len), "the name of a subsection")?;
            Ok(name.to_vec())
        })?;
        if name != vmsd.name.as_bytes() {
            self.pos = at;
            let found = format!("'{}'", String::from_utf8_lossy(&name));
            return Err(self.unexpected(format!("subsection '{}'", vmsd.name), found));
        }
        let at = self.pos;
        let version = self.read(|source| source.be32("the version of a subsection"))?;
        if version != vmsd.version {
            self.pos = at;
            let expected = format!("version {} of subsection '{}'", vmsd.version, vmsd.name);
            return Err(self.unexpected(expected, version.to_string()));
        }
        self.nested(vmsd)
    }

    fn byte(&mut self, expected: u8, what: &'static str) -> Result<()> {
        let at = self.pos;
        let found = self.read(|source| source.u8(what))?;
        if found != expected {
            self.pos = at;
            return Err(self.unexpected(format!("{what} ({expected:02x})"), format!("{found:02x}")));
        }
        Ok(())
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut SliceSource<'a>) -> Result<T, FormatError>,
    ) -> Result<T> {
        let rest = self.payload.get(self.pos..).unwrap_or_default();
        let mut source = SliceSource::at(rest, self.offset());
        let value = read(&mut source)?;
        self.pos = self.payload.len().saturating_sub(source.rest().len());
        Ok(value)
    }

    fn count(&mut self) -> Result<()> {
        work::count(1);
        self.values = self.values.saturating_add(1);
        if self.values > self.limit {
            let (len, limit) = (self.values as u64, self.limit as u64);
            return Err(FormatError::too_long(self.offset(), WHAT, len, limit));
        }
        Ok(())
    }

    fn offset(&self) -> u64 {
        self.at.saturating_add(self.pos as u64)
    }

    fn unexpected(&self, expected: impl Into<String>, found: String) -> FormatError {
        FormatError::unexpected(self.offset(), WHAT, expected.into(), found)
    }
}

const WHAT: &str = "the state of a device against its description (vmdesc)";

/// The value of a field that is a number or the like; `None` if it is not, or has not its size.
fn scalar<'a>(kind: &str, bytes: &'a [u8]) -> Option<Value<'a>> {
    let unsigned = || match *bytes {
        [a] => Some(u64::from(a)),
        [a, b] => Some(u64::from(u16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(u64::from(u32::from_be_bytes([a, b, c, d]))),
        _ => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
    };
    let signed = || match *bytes {
        [a] => Some(i64::from(i8::from_be_bytes([a]))),
        [a, b] => Some(i64::from(i16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
        _ => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
    };
    // "uint8 equal", "int32 le": what else QEMU asks of the value when it loads it.
    let (width, kind) = match kind.split(' ').next()? {
        "bool" => (1, "bool"),
        kind @ ("uint8" | "int8") => (1, kind),
        kind @ ("uint16" | "int16") => (2, kind),
        kind @ ("uint32" | "int32") => (4, kind),
        kind @ ("uint64" | "int64" | "timer" | "float64" | "CPU_Double_U") => (8, kind),
        "nullptr" => (1, "nullptr"),
        _ => return None,
    };
    if bytes.len() != width {
        return None;
    }
    Some(match kind {
        "bool" => Value::Bool(bytes != [0]),
        "nullptr" if bytes == [NULL] => Value::Null,
        "nullptr" => return None,
        "timer" => Value::Timer(Some(signed()?).filter(|expiry| *expiry != -1)),
        "float64" | "CPU_Double_U" => Value::Float(f64::from_bits(unsigned()?)),
        kind if kind.starts_with('u') => Value::Unsigned(unsigned()?),
        _ => Value::Signed(signed()?),
    })
}

#[cfg(test)]
mod tests;
