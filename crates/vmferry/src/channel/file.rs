//! A regular file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::{ReadChannel, Segment, SegmentMut, WriteChannel};
use crate::sys;

/// A regular file, read or written from where it stands.
#[derive(Debug)]
pub struct File(std::fs::File);

impl File {
    /// A channel over a file, from its present position on.
    pub fn new(file: std::fs::File) -> Self {
        Self(file)
    }

    /// A file to be read from its start.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::File::open(path).map(Self)
    }

    /// A file to be written from its start; what it held is gone.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        std::fs::File::create(path).map(Self)
    }

    /// The file back.
    pub fn into_inner(self) -> std::fs::File {
        self.0
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ReadChannel for File {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        sys::readv(self.0.as_fd(), segments)
    }
}

impl WriteChannel for File {
    fn write_segments(&mut self, segments: &[Segment<'_>]) -> io::Result<usize> {
        sys::writev(self.0.as_fd(), segments)
    }
}
