//! Proving that a checkpoint is whole: everything that it names, down to the last page.
//!
//! The invariant: what verifies can be restored. (A bit of a compressed frame that makes no difference
//! to the pages that come out of it is not a damage.)

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::frame::beyond;
use super::packs::{OpenPack, pack_name};
use super::{Checkpoint, open_object};
use crate::error::StoreError;
use crate::map::PageAt;
use crate::name::{ObjectKind, ObjectName};
use crate::object::check_header;
use crate::pack::{IndexChunk, Place};

/// What a full verification found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Pages in packs that were compared with their digests.
    pub pages: u64,
    /// Bytes of the packs that were read.
    pub bytes: u64,
    /// What is wrong; empty if nothing is.
    pub damages: Vec<StoreError>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }

    fn note<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.damages.push(error)).ok()
    }
}

impl Checkpoint {
    /// Reads everything that the checkpoint is made of, compares all digests, and goes on after what
    /// is wrong, so that the report names all of it.
    pub fn verify(&self) -> VerifyReport {
        self.verify_with(&|_| ())
    }

    /// The same, and tells `progress` now and then, from several threads, how many pages of how many
    /// have been compared: those that [`Checkpoint::packed_pages`] counts.
    pub fn verify_with(&self, progress: &(dyn Fn(u64) + Sync)) -> VerifyReport {
        let mut report = VerifyReport::default();
        for (name, size) in self.manifest.sizes() {
            let object = open_object(&*self.backend, name, size, &self.name);
            if let Some(object) = report.note(object) {
                report.note(check_header(&*object, name));
            }
        }
        report.note(self.device_state());
        let mut jobs: Vec<(u32, u32)> = Vec::new();
        for number in (0..).zip(&self.manifest.packs).map(|(number, _)| number) {
            if let Some(pack) = report.note(self.pool.packs().get(number)) {
                jobs.extend((0..pack.index.chunk_count()).map(|chunk| (number, chunk)));
            }
        }
        let next = AtomicUsize::new(0);
        let compared = AtomicU64::new(0);
        let shared = Mutex::new(report);
        thread::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn(|| {
                    let mut ours = VerifyReport::default();
                    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let before = ours.pages;
                        let result = self.verify_chunk(*job, &mut ours);
                        ours.note(result);
                        let more = ours.pages - before;
                        progress(compared.fetch_add(more, Ordering::Relaxed) + more);
                    }
                    let mut report = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    report.pages += ours.pages;
                    report.bytes += ours.bytes;
                    report.damages.append(&mut ours.damages);
                });
            }
        });
        let mut report = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        let places = self.verify_places();
        report.note(places);
        report
    }

    /// Checks all frames of one index chunk.
    fn verify_chunk(
        &self,
        (number, chunk): (u32, u32),
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let pack = self.pool.packs().get(number)?;
        let index = pack.index.read_index(&*pack.file, chunk, &self.keys)?;
        let mut stored = Vec::new();
        for (frame_number, _) in index.frames() {
            let result = self.verify_frame(&pack, &index, frame_number, &mut stored);
            if let Some((pages, bytes)) = report.note(result) {
                report.pages += pages;
                report.bytes += bytes;
            }
        }
        Ok(())
    }

    /// A frame that is in memory says nothing of the one in the pack, so the latter is read in any case.
    fn verify_frame(
        &self,
        pack: &OpenPack,
        index: &IndexChunk,
        number: u32,
        stored: &mut Vec<u8>,
    ) -> Result<(u64, u64), StoreError> {
        let frame = index.frame(number)?;
        stored.resize(frame.stored as usize, 0);
        pack.file.read_exact_at(stored, frame.offset)?;
        let decoded = self.pool.decode(pack, index, frame, stored)?;
        for slot in 0..decoded.page_count() {
            decoded.page(slot, &self.keys)?;
        }
        Ok((frame.pages.into(), frame.stored.into()))
    }

    /// Checks that the page map names places that there are, and as many pages of each kind as the
    /// manifest says.
    fn verify_places(&self) -> Result<(), StoreError> {
        let mut counts = vec![(0_u64, 0_u64); self.manifest.ram.blocks.len()];
        // Pages that follow each other are nearly always in the same chunk.
        let mut last: Option<(Arc<OpenPack>, Arc<IndexChunk>)> = None;
        self.map
            .for_each(&self.decompressors, &self.keys, |block, _, at| {
                let count = &mut counts[block.0];
                match at {
                    PageAt::Absent => {}
                    PageAt::Zero => count.1 += 1,
                    PageAt::Stored(place) => {
                        count.0 += 1;
                        let found = last.take().filter(|(pack, chunk)| {
                            pack.number == place.pack() && chunk.frame(place.frame()).is_ok()
                        });
                        let (pack, chunk) = match found {
                            Some(found) => found,
                            None => self.chunk_of(place)?,
                        };
                        let frame = chunk.frame(place.frame())?;
                        let (pages, slot) = (usize::from(frame.pages), place.slot());
                        if slot >= pages {
                            return Err(beyond(pack.index.name(), frame.offset, pages, slot));
                        }
                        last = Some((pack, chunk));
                    }
                }
                Ok(())
            })?;
        for (block, (data, zero)) in self.manifest.ram.blocks.iter().zip(counts) {
            if (block.pages.data, block.pages.zero) != (data, zero) {
                let name = ObjectName {
                    kind: ObjectKind::Map,
                    digest: self.manifest.ram.map.digest,
                };
                let expected = format!("{:?} in '{}'", block.pages, block.idstr);
                let found = format!("{data} data, {zero} zero");
                return Err(StoreError::damaged(name, "kinds of pages", expected, found));
            }
        }
        Ok(())
    }

    fn chunk_of(&self, place: Place) -> Result<(Arc<OpenPack>, Arc<IndexChunk>), StoreError> {
        let pack = self.pool.packs().get(place.pack())?;
        let chunk = self.pool.chunk(&pack, place.frame())?;
        Ok((pack, chunk))
    }

    /// How many pages there are in all its packs, those of other checkpoints included.
    pub fn packed_pages(&self) -> u64 {
        let packs = self.manifest.packs.iter().map(|pack| pack.pages);
        packs.fold(0, u64::saturating_add)
    }

    /// The names of the packs, for reports.
    pub fn pack_names(&self) -> impl Iterator<Item = ObjectName> {
        self.manifest.packs.iter().map(pack_name)
    }
}
