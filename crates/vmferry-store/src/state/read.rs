//! Reading device state.

use std::io::Read;
use std::ops::Range;

use vmferry::machine::{Configuration, DeviceSection, MachineState};

use super::{Index, Piece, REGION_DATA, REGION_INDEX, SectionRecord};
use crate::backend::Object;
use crate::digest::Keys;
use crate::error::StoreError;
use crate::hex::from_hex;
use crate::limits::{MAX_STATE_BYTES, MAX_STATE_INDEX_BYTES};
use crate::manifest::ObjectRef;
use crate::name::{ObjectKind, ObjectName};
use crate::object::Tail;

/// The device state of a checkpoint, verified and in memory.
#[derive(Debug)]
pub struct DeviceState {
    configuration: Option<Configuration>,
    sections: Vec<Section>,
    vmdesc: Option<Range<usize>>,
    data: Vec<u8>,
}

#[derive(Debug)]
struct Section {
    record: SectionRecord,
    element: Range<usize>,
    payload: Range<usize>,
}

impl DeviceState {
    /// The configuration element, if the stream had one.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// The device sections in stream order.
    pub fn devices(&self) -> impl Iterator<Item = DeviceSection<'_>> {
        self.sections.iter().map(|section| {
            let record = &section.record;
            DeviceSection {
                section_id: record.section_id,
                idstr: &record.idstr,
                instance_id: record.instance_id,
                version_id: record.version_id,
                phase: record.phase.into(),
                split: record.split.into(),
                payload: &self.data[section.payload.clone()],
                element: &self.data[section.element.clone()],
                offset: record.offset,
            }
        })
    }

    /// The trailing JSON description, if the stream had one.
    pub fn vmdesc(&self) -> Option<&[u8]> {
        self.vmdesc.clone().map(|piece| &self.data[piece])
    }

    /// The same in the form in which it is sent.
    pub fn to_machine_state(&self) -> MachineState {
        MachineState {
            configuration: self.configuration.clone(),
            devices: self.devices().map(|section| (&section).into()).collect(),
            vmdesc: self.vmdesc().map(<[u8]>::to_vec),
        }
    }

    /// Reads the state that a manifest refers to by `reference`.
    pub(crate) fn read(
        object: &dyn Object,
        reference: ObjectRef,
        keys: &Keys,
    ) -> Result<Self, StoreError> {
        let name = ObjectName {
            kind: ObjectKind::State,
            digest: reference.digest,
        };
        let tail = Tail::read(object, name, reference.size, keys)?;
        tail.admit(name, &[REGION_INDEX, REGION_DATA])?;
        let part = (REGION_INDEX, "state index");
        let (json, index_at) = tail.read_region(object, name, part, MAX_STATE_INDEX_BYTES, keys)?;
        let part = (REGION_DATA, "state data");
        let (stored, data_at) = tail.read_region(object, name, part, MAX_STATE_BYTES, keys)?;
        let data = decompress(&stored, data_at.count).map_err(|found| {
            let expected = format!("{} bytes when decompressed", data_at.count);
            StoreError::damaged(name, "state data", expected, found).at(data_at.offset)
        })?;
        let bad = |expected: &str, found: String| {
            StoreError::damaged(name, "state index", expected, found).at(index_at.offset)
        };
        let index: Index = serde_json::from_slice(&json)
            .map_err(|error| bad("an index of version 1", error.to_string()))?;
        if index.sections.len() as u64 != index_at.count {
            let expected = format!("{} sections", index_at.count);
            return Err(bad(&expected, index.sections.len().to_string()));
        }
        let range = |piece: Piece| {
            let end = piece
                .0
                .checked_add(piece.1)
                .filter(|end| *end <= data.len() as u64);
            let range = end
                .and_then(|end| Some(usize::try_from(piece.0).ok()?..usize::try_from(end).ok()?));
            range.ok_or_else(|| bad("pieces inside the data", format!("{piece:?}")))
        };
        let configuration = match index.configuration {
            None => None,
            Some(record) => Some(Configuration {
                machine: record.machine,
                target_page_bits: record.target_page_bits,
                capabilities: record.capabilities,
                uuid: match record.uuid {
                    None => None,
                    Some(uuid) => {
                        let uuid = from_hex(&uuid);
                        Some(uuid.map_err(|error| bad("a UUID", error.to_string()))?)
                    }
                },
            }),
        };
        let mut sections = Vec::with_capacity(index.sections.len());
        for record in index.sections {
            sections.push(Section {
                element: range(record.element)?,
                payload: range(record.payload)?,
                record,
            });
        }
        let vmdesc = index.vmdesc.map(range).transpose()?;
        Ok(Self {
            configuration,
            sections,
            vmdesc,
            data,
        })
    }
}

/// Decompresses without believing in `length` before that much has come out.
fn decompress(stored: &[u8], length: u64) -> Result<Vec<u8>, String> {
    if length > MAX_STATE_BYTES {
        return Err(format!("more than the limit of {MAX_STATE_BYTES}"));
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(|e| e.to_string())?;
    let mut data = Vec::new();
    decoder
        .take(length + 1)
        .read_to_end(&mut data)
        .map_err(|error| error.to_string())?;
    if data.len() as u64 != length {
        return Err(format!("{} or more", data.len()));
    }
    Ok(data)
}
