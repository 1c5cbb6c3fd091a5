//! A file with places: a regular file or a block device.

use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFlags;

use super::{
    Capabilities, Interest, ReadChannel, SeekChannel, Segment, SegmentMut, WriteChannel, poll,
};
use crate::sys;

/// How many bytes a file has, where they can be read at any place: those of a regular file or a block device. `None` for
/// everything else, such as a pipe.
///
/// # Errors
/// The file cannot be asked.
pub fn seekable_len(file: &std::fs::File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok(Some(metadata.len()));
    }
    match metadata.file_type().is_block_device() {
        true => sys::block_device_len(file.as_fd()).map(Some),
        false => Ok(None),
    }
}

/// A regular file or a block device, read or written from where it stands. It starts where the stream in it starts:
/// every offset counts from there.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    base: u64,
    has_places: bool,
}

impl File {
    /// A channel over a file, from its present position on, which is its start; 0 where the file
    /// has no places, like a named pipe.
    pub fn new(mut file: std::fs::File) -> Self {
        let position = file.stream_position();
        Self {
            file,
            base: position.as_ref().map_or(0, |position| *position),
            has_places: position.is_ok(),
        }
    }

    /// A channel over the part of a file that starts at `offset`.
    ///
    /// # Errors
    /// The file has no such place.
    pub fn from_offset(mut file: std::fs::File, offset: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self {
            file,
            base: offset,
            has_places: true,
        })
    }

    /// A file to be read from its start.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::File::open(path).map(Self::new)
    }

    /// A file to be written from its start; what it held is gone.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::File::create(path).map(Self::new)
    }

    /// The file back.
    pub fn into_inner(self) -> std::fs::File {
        self.file
    }

    fn place(&self, offset: u64) -> io::Result<u64> {
        if !self.has_places {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let place = self.base.checked_add(offset);
        place.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn abilities(&self) -> Capabilities {
        Capabilities {
            seek: self.has_places,
            positioned: self.has_places,
            ..Capabilities::default()
        }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ReadChannel for File {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        sys::readv(self.file.as_fd(), segments)
    }

    fn read_segments_at(
        &mut self,
        segments: &mut [SegmentMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        sys::preadv(self.file.as_fd(), segments, self.place(offset)?)
    }

    fn skip(&mut self, n: u64) -> io::Result<bool> {
        if !self.has_places {
            return Ok(false);
        }
        let target = self.file.stream_position()?.checked_add(n);
        let len = seekable_len(&self.file)?.unwrap_or(0);
        match target.filter(|target| *target <= len) {
            Some(target) => self.file.seek(SeekFrom::Start(target)).map(|_| true),
            None => Ok(false),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        poll::wait(self.file.as_fd(), PollFlags::IN, timeout)
    }

    fn capabilities(&self) -> Capabilities {
        self.abilities()
    }
}

impl WriteChannel for File {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        sys::writev(self.file.as_fd(), segments)
    }

    fn write_segments_at(&mut self, segments: &[Segment<'_>], offset: u64) -> io::Result<usize> {
        sys::pwritev(self.file.as_fd(), segments, self.place(offset)?)
    }

    fn wait(&mut self, _: Interest, timeout: Option<Duration>) -> io::Result<()> {
        poll::wait(self.file.as_fd(), PollFlags::OUT, timeout)
    }

    fn capabilities(&self) -> Capabilities {
        self.abilities()
    }
}

impl SeekChannel for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(offset) => SeekFrom::Start(self.place(offset)?),
            other => other,
        };
        // A place before the start belongs to somebody else.
        let before = self.file.stream_position()?;
        let reached = self.file.seek(place)?;
        reached.checked_sub(self.base).ok_or_else(|| {
            // The old place existed a moment ago.
            let _ = self.file.seek(SeekFrom::Start(before));
            io::ErrorKind::InvalidInput.into()
        })
    }
}
