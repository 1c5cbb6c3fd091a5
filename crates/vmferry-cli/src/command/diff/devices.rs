//! Devices, compared field by field.

use std::collections::{BTreeMap, HashMap, VecDeque};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::value::RawValue;
use vmferry::machine::MachineState;
use vmferry::wire::vmstate::{State, Value};

use crate::view::devices::{Device, Devices};
use crate::view::{Hex, JsonValue, Leaf, leaves, show, text};

/// How the devices of two machines differ.
#[derive(Debug, Default, Serialize)]
pub(super) struct DeviceDifferences {
    /// How many are the same.
    pub(super) same: u64,
    pub(super) changed: Vec<ChangedDevice>,
    pub(super) added: Vec<DeviceName>,
    pub(super) removed: Vec<DeviceName>,
}

/// Which device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(super) struct DeviceName {
    pub(super) idstr: String,
    pub(super) instance_id: u32,
}

/// A device that is not the same.
#[derive(Debug, Serialize)]
pub(super) struct ChangedDevice {
    #[serde(flatten)]
    pub(super) device: DeviceName,
    /// The versions of its layout, where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version_id: Option<OldNew<u32>>,
    pub(super) fields: Vec<ChangedField>,
    pub(super) added: Vec<OneField>,
    pub(super) removed: Vec<OneField>,
    /// Where there are no names for what is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) without_names: Option<String>,
}

/// What was, and what is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct OldNew<T> {
    pub(super) old: T,
    pub(super) new: T,
}

/// A field with another value.
#[derive(Debug, Serialize)]
pub(super) struct ChangedField {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(flatten)]
    pub(super) json: OldNew<Box<RawValue>>,
    #[serde(skip)]
    pub(super) text: OldNew<String>,
}

/// A field that is on one side only.
#[derive(Debug, Serialize)]
pub(super) struct OneField {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    value: Box<RawValue>,
    #[serde(skip)]
    pub(super) text: String,
}

impl DeviceDifferences {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }
}

fn name(device: &Device<'_>) -> DeviceName {
    let header = device.section.header();
    DeviceName {
        idstr: header.idstr.clone(),
        instance_id: header.instance_id,
    }
}

/// Compares all devices of two machines.
pub(super) fn compare(old: &MachineState, new: &MachineState) -> Result<DeviceDifferences> {
    let devices = |state, which| {
        Devices::new(state).with_context(|| format!("the devices of the {which} state"))
    };
    let (old, new) = (devices(old, "first")?, devices(new, "second")?);
    let mut of_new: BTreeMap<DeviceName, VecDeque<Device<'_>>> = BTreeMap::new();
    for device in new.iter() {
        of_new.entry(name(&device)).or_default().push_back(device);
    }
    let mut differences = DeviceDifferences::default();
    for device in old.iter() {
        let name = name(&device);
        let same_name = of_new.get_mut(&name).and_then(VecDeque::pop_front);
        match same_name.map(|other| one(name.clone(), &device, &other)) {
            None => differences.removed.push(name),
            Some(Ok(Some(changed))) => differences.changed.push(changed),
            Some(Ok(None)) => differences.same += 1,
            Some(Err(error)) => return Err(error),
        }
    }
    let left = of_new.into_iter();
    let left = left.flat_map(|(name, left)| std::iter::repeat_n(name, left.len()));
    differences.added = left.collect();
    Ok(differences)
}

/// How one device differs; `None` if it does not.
fn one(name: DeviceName, old: &Device<'_>, new: &Device<'_>) -> Result<Option<ChangedDevice>> {
    let (was, is) = (old.section, new.section);
    let versions = (was.header().version_id, is.header().version_id);
    if was.payload() == is.payload() && versions.0 == versions.1 {
        return Ok(None);
    }
    let mut changed = ChangedDevice {
        device: name,
        version_id: (versions.0 != versions.1).then_some(OldNew {
            old: versions.0,
            new: versions.1,
        }),
        fields: Vec::new(),
        added: Vec::new(),
        removed: Vec::new(),
        without_names: None,
    };
    match (old.decode(), new.decode()) {
        (Ok(old), Ok(new)) => changed.fields_of(&old, &new)?,
        (Err(why), _) | (_, Err(why)) => {
            changed.without_names = Some(format!("{}: {why}", bytes(was.payload(), is.payload())));
        }
    }
    Ok(Some(changed))
}

impl ChangedDevice {
    fn fields_of(&mut self, old: &State<'_>, new: &State<'_>) -> Result<()> {
        let (old, new) = (leaves(old), leaves(new));
        // Some names are there twice; they go by their order.
        let mut of_new: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (at, leaf) in new.iter().enumerate() {
            of_new.entry(&leaf.path).or_default().push_back(at);
        }
        let mut met = vec![false; new.len()];
        for was in &old {
            let at = of_new.get_mut(was.path.as_str());
            let Some(at) = at.and_then(VecDeque::pop_front) else {
                self.removed.push(field(was)?);
                continue;
            };
            met[at] = true;
            let is = &new[at];
            if was.bytes != is.bytes || was.kind != is.kind {
                self.fields.push(ChangedField {
                    path: was.path.clone(),
                    kind: is.kind.to_owned(),
                    json: OldNew {
                        old: json(was)?,
                        new: json(is)?,
                    },
                    text: texts(was, is),
                });
            }
        }
        let only_new = new.iter().zip(met).filter(|(_, met)| !met);
        for (leaf, _) in only_new {
            self.added.push(field(leaf)?);
        }
        Ok(())
    }
}

fn json(leaf: &Leaf<'_, '_>) -> Result<Box<RawValue>> {
    Ok(serde_json::value::to_raw_value(&JsonValue(
        leaf.value, leaf.bytes,
    ))?)
}

fn field(leaf: &Leaf<'_, '_>) -> Result<OneField> {
    Ok(OneField {
        path: leaf.path.clone(),
        kind: leaf.kind.to_owned(),
        value: json(leaf)?,
        text: show(leaf.value, leaf.bytes),
    })
}

/// Two values, so that the difference is seen: of many bytes, those from the first difference on.
fn texts(was: &Leaf<'_, '_>, is: &Leaf<'_, '_>) -> OldNew<String> {
    let many = |leaf: &Leaf<'_, '_>| {
        let text = text(leaf.bytes).is_some();
        matches!(leaf.value, Value::Bytes) && leaf.bytes.len() > SHOWN && !text
    };
    if !many(was) && !many(is) {
        return OldNew {
            old: show(was.value, was.bytes),
            new: show(is.value, is.bytes),
        };
    }
    if was.bytes.len() != is.bytes.len() {
        let length = |leaf: &Leaf<'_, '_>| format!("{} bytes", leaf.bytes.len());
        return OldNew {
            old: length(was),
            new: length(is),
        };
    }
    let mut pairs = was.bytes.iter().zip(is.bytes);
    let at = pairs.position(|(was, is)| was != is).unwrap_or_default();
    let from = |bytes: &[u8]| {
        let rest = bytes.get(at..).unwrap_or_default();
        let first = rest.get(..SHOWN).unwrap_or(rest);
        let more = if rest.len() > first.len() { "…" } else { "" };
        format!("{}{more}", Hex(first))
    };
    OldNew {
        old: format!("at {at:#x}: {}", from(was.bytes)),
        new: format!("{} ({})", from(is.bytes), bytes(was.bytes, is.bytes)),
    }
}

/// Bytes of a field that are shown.
const SHOWN: usize = 8;

fn bytes(was: &[u8], is: &[u8]) -> String {
    if was.len() != is.len() {
        return format!("{} bytes were {}", is.len(), was.len());
    }
    let differ = was.iter().zip(is).filter(|(was, is)| was != is).count();
    format!("{differ} of {} bytes differ", is.len())
}
