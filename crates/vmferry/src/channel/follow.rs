//! A file that is still being written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};

use super::{Capabilities, ReadChannel, SegmentMut, Shutdown};
use crate::sys;

/// How often the file is looked at while it does not grow. A file cannot be polled.
const LOOK: Duration = Duration::from_millis(2);

/// After how many bytes their space is given back.
const FREE: u64 = 4 << 20;

/// Reads a file from its start while another process writes to it, which never has to wait for the reader.
/// At the end of the file the reader waits for more, until [`FollowHandle::finish`] says that no more will
/// come. What has been read is given back to the system, so the file takes no more room than the reader
/// is behind the writer.
///
/// Positions are its own: a descriptor of the same open file can be given away, and its position is
/// that of the writer.
#[derive(Debug)]
pub struct Follow {
    file: Arc<File>,
    at: u64,
    freed: u64,
    shared: Arc<Shared>,
}

/// What other threads know of a [`Follow`], and can do with it.
#[derive(Debug, Clone)]
pub struct FollowHandle {
    file: Arc<File>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    read: AtomicU64,
    end: Mutex<End>,
    changed: Condvar,
}

/// Whether the reader waits for more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// The writer has written all; the rest is to be read.
    Finished,
    /// Nothing more is to be read.
    Aborted,
}

impl Follow {
    /// A reader of `file` from its start.
    pub fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            at: 0,
            freed: 0,
            shared: Arc::default(),
        }
    }

    /// For other threads.
    pub fn handle(&self) -> FollowHandle {
        FollowHandle {
            file: Arc::clone(&self.file),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Gives back the space of what was read.
    fn free(&mut self) {
        if self.at - self.freed < FREE {
            return;
        }
        free_range(&*self.file, self.freed..self.at);
        self.freed = self.at;
    }
}

/// Gives the space of a part of a file back to the system, which reads as zeros from then on. A file system
/// without holes keeps the space until the file is closed.
pub fn free_range(file: &impl AsFd, range: Range<u64>) {
    if !range.is_empty() {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = fallocate(file, flags, range.start, range.end - range.start);
    }
}

impl ReadChannel for Follow {
    fn read_segments(&mut self, segments: &mut [SegmentMut<'_>]) -> io::Result<usize> {
        loop {
            // The end is looked at before the file: what was written before it was said is read.
            let end = self.shared.end();
            if end == End::Aborted {
                return Ok(0);
            }
            let len = sys::preadv(self.file.as_fd(), segments, self.at)?;
            self.at += len as u64;
            self.shared.read.store(self.at, Ordering::Relaxed);
            if len > 0 || end == End::Finished {
                self.free();
                return Ok(len);
            }
            self.shared.wait();
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            shutdown: true,
            ..Capabilities::default()
        }
    }

    fn shutdown_handle(&self) -> Option<Arc<dyn Shutdown>> {
        Some(Arc::new(self.handle()))
    }
}

impl FollowHandle {
    /// Says that the writer has written all: the reader comes to its end after that.
    pub fn finish(&self) {
        self.shared.set(End::Finished);
    }

    /// Bytes that have been read.
    pub fn read(&self) -> u64 {
        self.shared.read.load(Ordering::Relaxed)
    }

    /// Bytes that have been written and not read.
    ///
    /// # Errors
    /// What the system says of the file.
    pub fn behind(&self) -> io::Result<u64> {
        // In this order, so that the difference is never less than nothing.
        let read = self.read();
        Ok(self.file.metadata()?.len().saturating_sub(read))
    }
}

impl Shutdown for FollowHandle {
    fn shutdown(&self) -> io::Result<()> {
        self.shared.set(End::Aborted);
        Ok(())
    }
}

impl Shared {
    fn end(&self) -> End {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, end: End) {
        let mut now = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != End::Aborted {
            *now = end;
        }
        self.changed.notify_all();
    }

    /// Waits until there may be more.
    fn wait(&self) {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if *end == End::Open {
            drop(self.changed.wait_timeout(end, LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::stream::Reader;

    fn pair() -> (File, Follow) {
        let file = tempfile::tempfile().unwrap();
        (file.try_clone().unwrap(), Follow::new(file))
    }

    #[test]
    fn a_reader_waits_for_what_is_still_written() {
        let (mut writer, follow) = pair();
        let handle = follow.handle();
        let reading = std::thread::spawn(move || {
            let mut reader = Reader::new(follow);
            let mut all = vec![0; 3 << 20];
            reader.get_into(&mut all).unwrap();
            let more = reader.get_u8().is_ok();
            (all, more)
        });
        let all: Vec<u8> = (0..3 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
        for piece in all.chunks(100_000) {
            writer.write_all(piece).unwrap();
        }
        handle.finish();
        assert!(reading.join().unwrap() == (all, false));
        assert_eq!((handle.read(), handle.behind().unwrap()), (3 << 20, 0));
    }

    #[test]
    fn what_was_read_takes_no_space() {
        use std::os::unix::fs::MetadataExt;
        let (mut writer, follow) = pair();
        writer.write_all(&vec![1; 16 << 20]).unwrap();
        let handle = follow.handle();
        handle.finish();
        let mut reader = Reader::new(follow);
        let mut all = vec![0; 16 << 20];
        reader.get_into(&mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 1));
        assert!(reader.get_u8().is_err());
        assert!(writer.metadata().unwrap().blocks() * 512 < 5 << 20);
    }

    #[test]
    fn a_reader_that_waits_is_ended_from_outside() {
        let (_writer, mut follow) = pair();
        let shutdown = follow.shutdown_handle().unwrap();
        let reading = std::thread::spawn(move || {
            let mut room = [0; 16];
            follow.read_segments(&mut [SegmentMut::new(&mut room)])
        });
        shutdown.shutdown().unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), 0);
    }
}
