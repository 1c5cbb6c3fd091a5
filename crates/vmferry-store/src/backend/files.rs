//! The few file system operations that a store in a directory is made of.
//!
//! They stand behind a trait so that tests can put a simulated file system in their place, one that
//! stops at any operation and then forgets whatever was not synced. Nothing here knows the store.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// The file system.
pub(crate) trait Files: Send + Sync + fmt::Debug + 'static {
    /// Creates a file that must not exist, mode 0600.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;
    /// The length of a file.
    fn length(&self, path: &Path) -> io::Result<u64>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;
    /// Opens a file for reading and locks it until it is dropped. The file still had
    /// this name when the lock was granted.
    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Locked>;
    /// Renames a file, over another one if need be.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory, mode 0700.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory; those that are not Unicode are left out.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub(crate) trait NewFile: Send {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is being read.
pub(crate) trait OpenFile: Send + Sync {
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Fills `buffer` with the bytes from `offset` on.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// How to lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Together with others who do the same; waits.
    Shared,
    /// Alone; waits.
    Exclusive,
    /// Alone, or not at all.
    TryExclusive,
}

/// What came of a lock.
pub(crate) enum Locked {
    /// It is held until the file is dropped.
    Held(Box<dyn OpenFile>),
    /// Somebody else has it.
    Busy,
}

/// The real one.
#[derive(Debug)]
pub(crate) struct RealFiles;

impl Files for RealFiles {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Box::new(RealNewFile(file)))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(RealOpenFile(File::open(path)?)))
    }

    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Locked> {
        let operation = match lock {
            Lock::Shared => FlockOperation::LockShared,
            Lock::Exclusive => FlockOperation::LockExclusive,
            Lock::TryExclusive => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            let file = File::open(path)?;
            loop {
                match flock(&file, operation) {
                    Ok(()) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Locked::Busy),
                    Err(errno) => return Err(errno.into()),
                }
            }
            // The name may have gone to another file, or away, while we waited.
            let (ours, named) = (file.metadata()?, std::fs::metadata(path)?);
            if (ours.dev(), ours.ino()) == (named.dev(), named.ino()) {
                return Ok(Locked::Held(Box::new(RealOpenFile(file))));
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }
}

struct RealNewFile(File);

impl NewFile for RealNewFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

struct RealOpenFile(File);

impl OpenFile for RealOpenFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.0, buffer, offset)
    }
}
