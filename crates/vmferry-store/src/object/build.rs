//! Writing an object.

use zerocopy::IntoBytes;

use super::VERSION;
use super::layout::{FLAG_DIRECT, FOOTER_MAGIC, Footer, HEADER_BYTES, Header, Region};
use crate::backend::Upload;
use crate::digest::Keys;
use crate::error::StoreError;
use crate::limits::MAX_OBJECT_BYTES;
use crate::name::{ObjectKind, ObjectName};

/// Writes an object front to back.
///
/// Regions are announced as they are written; [`Builder::seal`] writes the tail and gives the object
/// its name.
pub(crate) struct Builder {
    upload: Box<dyn Upload>,
    kind: ObjectKind,
    page_size: u32,
    length: u64,
    regions: Vec<Region>,
}

impl Builder {
    /// Begins an object and writes its header.
    pub(crate) fn begin(
        mut upload: Box<dyn Upload>,
        kind: ObjectKind,
        page_size: u32,
    ) -> Result<Self, StoreError> {
        upload.append(Header::new(kind.code(), VERSION).as_bytes())?;
        Ok(Self {
            upload,
            kind,
            page_size,
            length: HEADER_BYTES,
            regions: Vec::new(),
        })
    }

    /// How many bytes were written so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes, and tells at which offset.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<u64, StoreError> {
        let offset = self.length;
        let length = offset.saturating_add(bytes.len() as u64);
        if length > MAX_OBJECT_BYTES {
            return Err(StoreError::TooLarge {
                what: "an object of the store (bytes)",
                found: length,
                limit: MAX_OBJECT_BYTES,
            });
        }
        self.upload.append(bytes)?;
        self.length = length;
        Ok(offset)
    }

    /// Calls everything from `offset` to here a region whose parts are digested elsewhere.
    pub(crate) fn indirect(&mut self, kind: u32, offset: u64, count: u64) {
        let length = self.length - offset;
        self.regions.push(Region {
            kind: kind.into(),
            flags: 0.into(),
            offset: offset.into(),
            length: length.into(),
            count: count.into(),
            digest: [0; 32],
        });
    }

    /// Adds `bytes` as a direct region.
    pub(crate) fn direct(
        &mut self,
        kind: u32,
        count: u64,
        bytes: &[u8],
        keys: &Keys,
    ) -> Result<(), StoreError> {
        let offset = self.append(bytes)?;
        self.regions.push(Region {
            kind: kind.into(),
            flags: FLAG_DIRECT.into(),
            offset: offset.into(),
            length: (bytes.len() as u64).into(),
            count: count.into(),
            digest: *keys.chunk(bytes).as_bytes(),
        });
        Ok(())
    }

    /// Writes the tail, makes the object durable, and tells its name and length.
    pub(crate) fn seal(mut self, keys: &Keys) -> Result<(ObjectName, u64), StoreError> {
        let mut tail = self.regions.as_bytes().to_vec();
        let length = self.length + (tail.len() + size_of::<Footer>()) as u64;
        let footer = Footer {
            page_size: self.page_size.into(),
            regions: u32::try_from(self.regions.len()).unwrap_or(u32::MAX).into(),
            length: length.into(),
            kind: self.kind.code(),
            version: VERSION.into(),
            magic: FOOTER_MAGIC,
        };
        tail.extend_from_slice(footer.as_bytes());
        self.append(&tail)?;
        let name = ObjectName {
            kind: self.kind,
            digest: keys.object(&tail),
        };
        self.upload.seal(&name.key())?;
        Ok((name, length))
    }
}
