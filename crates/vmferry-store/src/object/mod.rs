//! What packs, page maps and device states have in common: a header, regions, and a tail from whose
//! digest the object has its name.
//!
//! The invariant: a [`Tail`] that was read is the one that was written, so its regions lie inside the
//! object, and a direct region can be believed once its digest was compared.
//!
//! ```text
//! header 32 | regions … | region table, 64 each | footer 32
//! ```

mod layout;

use zerocopy::{FromBytes, IntoBytes};

pub(crate) use layout::HEADER_BYTES;
use layout::{FLAG_CRITICAL, FLAG_DIRECT, FOOTER_MAGIC, Footer, HEADER_MAGIC, Header, Region};

use crate::backend::{Object, Upload};
use crate::digest::{Digest, Keys, differ};
use crate::error::StoreError;
use crate::features::FORMAT_VERSION;
use crate::limits::{MAX_OBJECT_BYTES, MAX_REGIONS};
use crate::name::{ObjectKind, ObjectName};

const VERSION: u32 = 1;
const _: () = assert!(VERSION as u64 == FORMAT_VERSION);

impl ObjectKind {
    /// The kind as it stands in a file.
    pub(crate) const fn code(self) -> [u8; 4] {
        match self {
            Self::Pack => *b"PACK",
            Self::Map => *b"MAP ",
            Self::State => *b"STAT",
        }
    }
}

/// A stretch of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// How many of whatever the region holds.
    pub(crate) count: u64,
    /// For direct regions: the digest of the bytes.
    pub(crate) digest: Option<Digest>,
}

/// The trusted end of an object.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) page_size: u32,
    regions: Vec<Region>,
}

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

impl Tail {
    /// Reads and verifies the tail of the object `name`, which should be `length` bytes long.
    pub(crate) fn read(
        object: &dyn Object,
        name: ObjectName,
        length: u64,
        keys: &Keys,
    ) -> Result<Self, StoreError> {
        const FOOTER: u64 = size_of::<Footer>() as u64;
        let bad = |what, expected: String, found: String| {
            StoreError::damaged(name, what, expected, found)
        };
        if object.length() != length {
            let (expected, found) = (bytes(length), bytes(object.length()));
            return Err(bad("length", expected, found));
        }
        if length < HEADER_BYTES + FOOTER {
            return Err(bad("length", "at least 64 bytes".into(), bytes(length)));
        }
        let mut footer = Footer::default();
        object.read_exact_at(footer.as_mut_bytes(), length - FOOTER)?;
        let regions = Self::check_footer(&footer, name.kind, length)
            .map_err(|(what, expected, found)| bad(what, expected, found).at(length - FOOTER))?;
        if footer.version.get() > VERSION {
            return Err(StoreError::NewerVersion {
                file: name.to_string(),
                found: footer.version.get().into(),
                supported: VERSION.into(),
            });
        }
        let table = regions as u64 * size_of::<Region>() as u64;
        let start = (length - FOOTER)
            .checked_sub(table)
            .filter(|start| *start >= HEADER_BYTES)
            .ok_or_else(|| bad("number of regions", "fewer".into(), regions.to_string()))?;
        let mut tail = vec![0; regions * size_of::<Region>() + size_of::<Footer>()];
        object.read_exact_at(&mut tail, start)?;
        let found = keys.object(&tail);
        if differ(name.digest, found) {
            let (expected, found) = (name.digest.to_string(), found.to_string());
            return Err(bad("digest of the tail", expected, found).at(start));
        }
        let mut tail_regions = Vec::with_capacity(regions);
        let (table, _) = tail.split_at(regions * size_of::<Region>());
        for bytes in table.chunks_exact(size_of::<Region>()) {
            let region = Region::read_from_bytes(bytes)
                .map_err(|_| StoreError::Unreachable("a region of another size"))?;
            let (offset, length) = (region.offset.get(), region.length.get());
            let inside = offset >= HEADER_BYTES
                && offset.checked_add(length).is_some_and(|end| end <= start);
            if !inside {
                let found = format!("{length} bytes at {offset:#x}");
                return Err(bad(
                    "region",
                    format!("inside {HEADER_BYTES}..{start}"),
                    found,
                ));
            }
            tail_regions.push(region);
        }
        Ok(Self {
            page_size: footer.page_size.get(),
            regions: tail_regions,
        })
    }

    /// The number of regions, of a footer that makes sense.
    fn check_footer(
        footer: &Footer,
        kind: ObjectKind,
        length: u64,
    ) -> Result<usize, (&'static str, String, String)> {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        if footer.magic != FOOTER_MAGIC {
            return Err(("footer magic", text(&FOOTER_MAGIC), text(&footer.magic)));
        }
        if footer.kind != kind.code() {
            return Err(("kind", text(&kind.code()), text(&footer.kind)));
        }
        if footer.length.get() != length {
            let (expected, found) = (bytes(length), bytes(footer.length.get()));
            return Err(("length in the footer", expected, found));
        }
        let regions = footer.regions.get();
        if regions > MAX_REGIONS {
            let expected = format!("at most {MAX_REGIONS}");
            return Err(("number of regions", expected, regions.to_string()));
        }
        usize::try_from(regions)
            .map_err(|_| ("number of regions", "a number".into(), regions.to_string()))
    }

    /// Refuses regions that must be known, but are not among `known`.
    pub(crate) fn admit(&self, name: ObjectName, known: &[u32]) -> Result<(), StoreError> {
        let unknown = self.regions.iter().find(|region| {
            region.flags.get() & FLAG_CRITICAL != 0 && !known.contains(&region.kind.get())
        });
        match unknown {
            Some(region) => Err(StoreError::UnknownFeature {
                file: name.to_string(),
                features: vec![format!("region kind {}", region.kind)],
            }),
            None => Ok(()),
        }
    }

    /// Where the one region of this kind is.
    pub(crate) fn region(&self, name: ObjectName, kind: u32) -> Result<Span, StoreError> {
        let mut of_kind = self.regions.iter().filter(|r| r.kind.get() == kind);
        let (Some(region), None) = (of_kind.next(), of_kind.next()) else {
            let count = self.regions.iter().filter(|r| r.kind.get() == kind).count();
            let expected = format!("one of kind {kind}");
            return Err(StoreError::damaged(name, "regions", expected, count));
        };
        let direct = region.flags.get() & FLAG_DIRECT != 0;
        Ok(Span {
            offset: region.offset.get(),
            length: region.length.get(),
            count: region.count.get(),
            digest: direct.then(|| Digest::from_bytes(region.digest)),
        })
    }

    /// The bytes of the one region of this kind, which must be direct, verified.
    pub(crate) fn read_region(
        &self,
        object: &dyn Object,
        name: ObjectName,
        (kind, what): (u32, &'static str),
        limit: u64,
        keys: &Keys,
    ) -> Result<(Vec<u8>, Span), StoreError> {
        let span = self.region(name, kind)?;
        let Some(digest) = span.digest else {
            return Err(StoreError::damaged(
                name,
                what,
                "a direct region",
                "another",
            ));
        };
        let at = (span.offset, span.length);
        let bytes = read_chunk(object, (name, what), at, limit, digest, keys)?;
        Ok((bytes, span))
    }
}

/// Reads `length` bytes from `offset` on and compares their digest.
pub(crate) fn read_chunk(
    object: &dyn Object,
    (name, what): (ObjectName, &'static str),
    (offset, length): (u64, u64),
    limit: u64,
    digest: Digest,
    keys: &Keys,
) -> Result<Vec<u8>, StoreError> {
    let in_memory = usize::try_from(length)
        .ok()
        .filter(|_| length <= limit && length <= object.length());
    let Some(in_memory) = in_memory else {
        let expected = format!("at most {limit} bytes, all of them in the file");
        return Err(StoreError::damaged(name, what, expected, bytes(length)).at(offset));
    };
    let mut content = vec![0; in_memory];
    object.read_exact_at(&mut content, offset)?;
    let found = keys.chunk(&content);
    if differ(digest, found) {
        return Err(StoreError::damaged(name, what, digest, found).at(offset));
    }
    Ok(content)
}

/// Whether the header of an object is as it should be: only a full verification looks.
pub(crate) fn check_header(object: &dyn Object, name: ObjectName) -> Result<(), StoreError> {
    let mut header = Header::default();
    object.read_exact_at(header.as_mut_bytes(), 0)?;
    let expected = Header::new(name.kind.code(), VERSION);
    if header == expected {
        return Ok(());
    }
    let text = |header: &Header| header.as_bytes().escape_ascii().to_string();
    debug_assert_eq!(HEADER_MAGIC.len(), 8);
    Err(StoreError::damaged(name, "header", text(&expected), text(&header)).at(0))
}

fn bytes(count: u64) -> String {
    format!("{count} bytes")
}
