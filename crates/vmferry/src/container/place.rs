//! Bytes that stay where they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use crate::channel::{ReadChannel, SegmentMut};

/// Bytes that can be read at any offset, by several threads at once.
pub trait ReadAt: Send + Sync {
    /// Reads exactly as many bytes as there is room for.
    ///
    /// # Errors
    /// They are not there, or cannot be read.
    fn read_exact_at(&self, room: &mut [u8], offset: u64) -> io::Result<()>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn read_exact_at(&self, room: &mut [u8], offset: u64) -> io::Result<()> {
                (**self).read_exact_at(room, offset)
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, room: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(room.len());
        let there = self.get(start..end);
        room.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A part of a file that begins at an offset. A file that changes while it is read is an error: what was
/// found in it need not be there any more.
#[derive(Debug)]
pub struct Part {
    file: File,
    base: u64,
    stamp: Stamp,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    changed: (i64, i64),
}

impl Part {
    /// The part of `file` that begins at `base`.
    ///
    /// # Errors
    /// The file cannot be asked.
    pub fn new(file: File, base: u64) -> io::Result<Self> {
        let stamp = Stamp::of(&file)?;
        Ok(Self { file, base, stamp })
    }

    /// What of it is further on.
    pub(super) fn further(self, by: u64) -> Self {
        let base = self.base.saturating_add(by);
        Self { base, ..self }
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            len: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl ReadAt for Part {
    fn read_exact_at(&self, room: &mut [u8], offset: u64) -> io::Result<()> {
        let at = self.base.checked_add(offset);
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_exact_at(room, at)?;
        // After the read: what it gave was there before the file changed.
        if Stamp::of(&self.file)? == self.stamp {
            Ok(())
        } else {
            Err(io::Error::other("the file was changed while it was read"))
        }
    }
}

/// Reads a place from its beginning to its end, and goes over what is not wanted.
pub(super) struct Sequence {
    place: Arc<dyn ReadAt>,
    at: u64,
    len: u64,
    /// Bytes that pass at once.
    piece: Vec<u8>,
}

impl Sequence {
    /// The first `len` bytes of `place`.
    pub(super) fn new(place: Arc<dyn ReadAt>, len: u64) -> Self {
        Self {
            place,
            at: 0,
            len,
            piece: vec![0; 64 << 10],
        }
    }
}

impl ReadChannel for Sequence {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        let room: usize = segments.iter().map(SegmentMut::len).sum();
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let room = room.min(left).min(self.piece.len());
        let piece = self.piece.get_mut(..room).unwrap_or_default();
        self.place.read_exact_at(piece, self.at)?;
        self.at += room as u64;
        let mut from = &*piece;
        for segment in segments {
            let copied = segment.copy_from(from);
            from = from.get(copied..).unwrap_or_default();
        }
        Ok(room)
    }

    fn skip(&mut self, n: u64) -> io::Result<bool> {
        let is_there = n <= self.len - self.at;
        if is_there {
            self.at += n;
        }
        Ok(is_there)
    }
}
