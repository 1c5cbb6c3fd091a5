//! Collecting and writing device state.

use std::io::Write;

use vmferry::machine::{Configuration, DeviceSection};

use super::{ConfigurationRecord, Index, Piece, REGION_DATA, REGION_INDEX, SectionRecord};
use crate::backend::Upload;
use crate::digest::Keys;
use crate::error::StoreError;
use crate::hex::to_hex;
use crate::limits::{MAX_STATE_BYTES, MAX_STATE_INDEX_BYTES};
use crate::manifest::ObjectRef;
use crate::name::ObjectKind;
use crate::object::Builder;

/// Device state that is being collected: compressed as it comes.
pub(crate) struct StateWriter {
    index: Index,
    data: zstd::stream::write::Encoder<'static, Vec<u8>>,
    length: u64,
}

impl StateWriter {
    pub(crate) fn new(level: i32) -> Result<Self, StoreError> {
        let data = zstd::stream::write::Encoder::new(Vec::new(), level)
            .map_err(|error| StoreError::io("set up", "the compressor", error))?;
        Ok(Self {
            index: Index::default(),
            data,
            length: 0,
        })
    }

    /// Records the configuration element.
    pub(crate) fn configuration(&mut self, from: &Configuration) {
        self.index.configuration = Some(ConfigurationRecord {
            machine: from.machine.clone(),
            target_page_bits: from.target_page_bits,
            capabilities: from.capabilities.clone(),
            uuid: from.uuid.map(|uuid| to_hex(&uuid)),
        });
    }

    /// Records a device section.
    pub(crate) fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), StoreError> {
        let element = self.append(section.element)?;
        let payload = match position(section.payload, section.element) {
            Some(at) => Piece(element.0 + at, section.payload.len() as u64),
            None => self.append(section.payload)?,
        };
        self.index.sections.push(SectionRecord {
            section_id: section.section_id,
            idstr: section.idstr.into(),
            instance_id: section.instance_id,
            version_id: section.version_id,
            phase: section.phase.into(),
            split: section.split.into(),
            offset: section.offset,
            element,
            payload,
        });
        Ok(())
    }

    /// Records the trailing description.
    pub(crate) fn vmdesc(&mut self, json: &[u8]) -> Result<(), StoreError> {
        self.index.vmdesc = Some(self.append(json)?);
        Ok(())
    }

    /// The machine type of the configuration element.
    pub(crate) fn machine(&self) -> Option<&str> {
        let configuration = self.index.configuration.as_ref();
        configuration.map(|configuration| configuration.machine.as_str())
    }

    /// Writes all that was recorded as an object.
    pub(crate) fn finish(
        self,
        upload: Box<dyn Upload>,
        keys: &Keys,
    ) -> Result<ObjectRef, StoreError> {
        let index = serde_json::to_vec(&self.index)
            .map_err(|_| StoreError::Unreachable("a state index could not be written as JSON"))?;
        let data = self
            .data
            .finish()
            .map_err(|error| StoreError::io("compress", "the device state", error))?;
        limit(
            "the index of the device state (bytes)",
            index.len() as u64,
            MAX_STATE_INDEX_BYTES,
        )?;
        limit(
            "the device state (bytes)",
            data.len() as u64,
            MAX_STATE_BYTES,
        )?;
        let mut builder = Builder::begin(upload, ObjectKind::State, 0)?;
        builder.direct(REGION_DATA, self.length, &data, keys)?;
        builder.direct(REGION_INDEX, self.index.sections.len() as u64, &index, keys)?;
        let (name, size) = builder.seal(keys)?;
        let digest = name.digest;
        Ok(ObjectRef { digest, size })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<Piece, StoreError> {
        let piece = Piece(self.length, bytes.len() as u64);
        let length = self.length.saturating_add(piece.1);
        limit("the device state (bytes)", length, MAX_STATE_BYTES)?;
        self.data
            .write_all(bytes)
            .map_err(|error| StoreError::io("compress", "the device state", error))?;
        self.length = length;
        Ok(piece)
    }
}

fn limit(what: &'static str, found: u64, limit: u64) -> Result<(), StoreError> {
    if found > limit {
        return Err(StoreError::TooLarge { what, found, limit });
    }
    Ok(())
}

/// Where `part` is in `whole`, if it is a part of the very same memory.
fn position(part: &[u8], whole: &[u8]) -> Option<u64> {
    let at = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = at.checked_add(part.len())?;
    (end <= whole.len()).then_some(at as u64)
}
