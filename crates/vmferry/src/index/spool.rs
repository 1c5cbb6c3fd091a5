//! Pages that cannot stay where they came from: in a temporary file without a name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::IndexError;

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

/// After so many bytes, it is asked whether the file system has room for as many.
const STEP: u64 = 64 << 20;

/// What is left to others of a file system.
const RESERVE: u64 = 64 << 20;

/// A file with a slot for each page, which is gone when it is closed, however that comes about. It is never
/// larger than the RAM whose pages are in it: a page that comes again goes over the one before.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    folder: PathBuf,
    page_len: usize,
    reserve: u64,
    /// Slots that are taken.
    slots: u64,
    /// The last of them, which are not in the file yet.
    pending: Vec<u8>,
    /// Up to here, the file system has room.
    room: u64,
}

impl Spool {
    pub(super) fn create(folder: &Path, page_len: usize) -> Result<Self, IndexError> {
        Ok(Self {
            file: tempfile::tempfile_in(folder).map_err(|error| failed(folder, error))?,
            folder: folder.to_owned(),
            page_len,
            reserve: RESERVE,
            slots: 0,
            pending: Vec::with_capacity(PIECE + page_len),
            room: 0,
        })
    }

    /// Puts a page into a slot of its own, and tells which.
    pub(super) fn put(&mut self, page: &[u8]) -> Result<u64, IndexError> {
        self.pending.extend_from_slice(page);
        self.slots += 1;
        if self.pending.len() >= PIECE {
            self.write_out()?;
        }
        Ok(self.slots - 1)
    }

    /// Puts a page over the one in a slot.
    pub(super) fn replace(&mut self, slot: u64, page: &[u8]) -> Result<(), IndexError> {
        match self.in_memory(slot) {
            Some(at) => {
                self.pending[at..at + page.len()].copy_from_slice(page);
                Ok(())
            }
            None => {
                let at = slot * self.page_len as u64;
                let written = self.file.write_all_at(page, at);
                written.map_err(|error| failed(&self.folder, error))
            }
        }
    }

    /// Reads what is in neighbouring slots, from an offset on.
    pub(super) fn read(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let slot = offset / self.page_len as u64;
        match self.in_memory(slot) {
            Some(at) if out.len() <= self.pending.len() - at => {
                out.copy_from_slice(&self.pending[at..at + out.len()]);
                Ok(())
            }
            _ => self.file.read_exact_at(out, offset),
        }
    }

    /// Where in `pending` a slot is, if it is there.
    fn in_memory(&self, slot: u64) -> Option<usize> {
        let pending = self.pending.len() / self.page_len;
        let at = slot.checked_sub(self.slots - pending as u64)?;
        Some(usize::try_from(at).ok()? * self.page_len)
    }

    /// Writes what is not in the file yet.
    pub(super) fn write_out(&mut self) -> Result<(), IndexError> {
        let end = self.slots * self.page_len as u64;
        if end > self.room {
            self.look_for_room(end)?;
        }
        let at = end - self.pending.len() as u64;
        let written = self.file.write_all_at(&self.pending, at);
        written.map_err(|error| failed(&self.folder, error))?;
        self.pending.clear();
        Ok(())
    }

    fn look_for_room(&mut self, end: u64) -> Result<(), IndexError> {
        let system = rustix::fs::fstatvfs(&self.file);
        let system = system.map_err(|error| failed(&self.folder, error))?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < self.reserve.saturating_add(STEP) {
            return Err(IndexError::NoRoom {
                folder: self.folder.clone(),
                spooled: end,
                free,
            });
        }
        self.room = end + STEP;
        Ok(())
    }
}

fn failed(folder: &Path, source: impl Into<io::Error>) -> IndexError {
    IndexError::Spool {
        folder: folder.to_owned(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(fill: u8) -> [u8; 4096] {
        [fill; 4096]
    }

    #[test]
    fn a_page_is_read_whether_it_was_written_out_or_not() {
        let mut spool = Spool::create(&std::env::temp_dir(), 4096).unwrap();
        for number in 0..=255 {
            let slot = spool.put(&page(number)).unwrap();
            assert_eq!(slot, u64::from(number));
        }
        for number in 0..8 {
            spool.put(&page(number)).unwrap();
        }
        spool.replace(3, &page(77)).unwrap();
        spool.replace(260, &page(78)).unwrap();
        let expect = |spool: &Spool, slot: u64, fill: u8| {
            let mut out = page(0);
            spool.read(&mut out, slot * 4096).unwrap();
            assert_eq!(out, page(fill), "slot {slot}");
        };
        for written_out in [false, true] {
            if written_out {
                spool.write_out().unwrap();
            }
            for (slot, fill) in [(0, 0), (3, 77), (255, 255), (256, 0), (260, 78), (263, 7)] {
                expect(&spool, slot, fill);
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named_by_its_folder() {
        let error = Spool::create(Path::new("/proc/none"), 4096).unwrap_err();
        assert!(error.to_string().contains("/proc/none"), "{error}");
    }

    #[test]
    fn a_file_system_is_not_filled_up() {
        let mut spool = Spool::create(&std::env::temp_dir(), 4096).unwrap();
        spool.reserve = u64::MAX;
        spool.put(&page(1)).unwrap();
        let error = spool.write_out().unwrap_err();
        assert!(matches!(error, IndexError::NoRoom { spooled: 4096, .. }));
        assert_eq!(spool.file.metadata().unwrap().len(), 0);
    }
}
