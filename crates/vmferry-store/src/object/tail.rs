//! Reading an object: its tail first, and from there any region.

use zerocopy::{FromBytes, IntoBytes};

use super::layout::{
    FLAG_CRITICAL, FLAG_DIRECT, FOOTER_MAGIC, Footer, HEADER_BYTES, HEADER_MAGIC, Header, Region,
};
use super::{Span, VERSION};
use crate::backend::Object;
use crate::digest::{Digest, Keys, differ};
use crate::error::StoreError;
use crate::limits::MAX_REGIONS;
use crate::name::{ObjectKind, ObjectName};

/// How many bytes at the end of an object are read at once: in nearly every object they hold the region table and the
/// table before it, so that a backend that is far away is asked once.
const END_BYTES: u64 = 32 << 10;
const _: () = assert!(
    END_BYTES >= MAX_REGIONS as u64 * size_of::<Region>() as u64 + size_of::<Footer>() as u64
);

/// The trusted end of an object.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) page_size: u32,
    regions: Vec<Region>,
    end: End,
}

/// The last bytes of an object, as they were read.
#[derive(Debug)]
struct End {
    offset: u64,
    bytes: Vec<u8>,
}

impl End {
    /// Reads them from an object of `length` bytes.
    fn read(object: &dyn Object, length: u64) -> Result<Self, StoreError> {
        let offset = length.saturating_sub(END_BYTES);
        let mut bytes = vec![0; usize::try_from(length - offset).unwrap_or(usize::MAX)];
        object.read_exact_at(&mut bytes, offset)?;
        Ok(Self { offset, bytes })
    }

    /// The bytes from `offset` on, if they are among these.
    fn get(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        self.bytes.get(start..end)
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
        let end = End::read(object, length)?;
        let unread = StoreError::Unreachable("a tail outside of the end of its object");
        let footer = end.get(length - FOOTER, FOOTER);
        let footer = footer.and_then(|bytes| Footer::read_from_bytes(bytes).ok());
        let Some(footer) = footer else {
            return Err(unread);
        };
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
        let Some(tail) = end.get(start, table + FOOTER) else {
            return Err(unread);
        };
        let found = keys.object(tail);
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
            end,
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
        let read = self.end.get(span.offset, span.length);
        let bytes = match read.filter(|_| span.length <= limit) {
            Some(bytes) => check_chunk(bytes.to_vec(), (name, what), span.offset, digest, keys)?,
            None => read_chunk(object, (name, what), at, limit, digest, keys)?,
        };
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
    check_chunk(content, (name, what), offset, digest, keys)
}

/// Compares the digest of bytes that were read from `offset` on.
fn check_chunk(
    content: Vec<u8>,
    (name, what): (ObjectName, &'static str),
    offset: u64,
    digest: Digest,
    keys: &Keys,
) -> Result<Vec<u8>, StoreError> {
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
