//! Saving: a stream's pages and sections on one side, a checkpoint on the other.
//!
//! The invariant: until [`Writer::publish`] has returned, nothing of a save can be seen in the store;
//! dropping a [`Writer`] removes all that it wrote. The last content that came for a page counts.

mod batch;
mod collector;
mod feeder;
mod known;
mod options;
mod order;
mod pack_list;
mod packer;
mod parameters;
mod pipeline;
mod progress;
mod sealer;
#[cfg(test)]
mod tests;
mod thread;
mod worker;

pub(crate) use known::{KnownPages, NothingKnown};
pub use options::{Details, SaveOptions};
pub use progress::{Progress, ProgressCounters};

use std::num::NonZeroUsize;
use std::sync::Arc;

use vmferry::load::{Origin, Visitor};
use vmferry::machine::{Configuration, DeviceSection};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlock, RamBlocks, is_zero};

use crate::backend::Session;
use crate::config::Defaults;
use crate::digest::Keys;
use crate::error::StoreError;
use crate::limits::{MAX_BLOCKS, MAX_FRAME_PAGES, MAX_IDSTR_BYTES, MAX_PAGES};
use crate::manifest::{BlockRecord, Manifest, PageCounts, RamRecord, Statistics};
use crate::map::write_map;
use crate::name::{CheckpointId, CheckpointName, ObjectName, VmName};
use crate::state::StateWriter;
use batch::Content;
use feeder::Feeder;
use pack_list::PackList;
use packer::Packed;
use parameters::{Parameters, Surroundings};
use pipeline::{Collected, Pipeline};

/// A save in progress: a [`Visitor`] that is fed by reading a stream, and then published.
pub struct Writer {
    // Dropped in this order: threads end before what they wrote is removed.
    feeder: Option<Feeder>,
    session: Arc<dyn Session>,
    known: Arc<dyn KnownPages>,
    name: CheckpointName,
    begun: jiff::Timestamp,
    keys: Arc<Keys>,
    parameters: Defaults,
    workers: usize,
    progress: Arc<Progress>,
    state: StateWriter,
    blocks: RamBlocks,
    page_size: Option<PageSize>,
    /// Of the blocks, in pages.
    lengths: Vec<u64>,
    failed: bool,
}

impl Writer {
    pub(crate) fn begin(
        session: Arc<dyn Session>,
        vm: VmName,
        options: &SaveOptions,
        defaults: Defaults,
        keys: Arc<Keys>,
        known: Arc<dyn KnownPages>,
    ) -> Result<Self, StoreError> {
        let begun = options.begun.unwrap_or_else(jiff::Timestamp::now);
        let parameters = options.parameters.unwrap_or(defaults).clamped();
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self {
            feeder: None,
            session,
            known,
            name: CheckpointName {
                vm,
                id: CheckpointId::generate(begun)?,
            },
            begun,
            keys,
            parameters,
            workers: options.workers.map_or_else(cores, NonZeroUsize::get),
            progress: Arc::new(Progress::new()),
            state: StateWriter::new(parameters.zstd_level)?,
            blocks: RamBlocks::default(),
            page_size: None,
            lengths: Vec::new(),
            failed: false,
        })
    }

    /// The name that the checkpoint will have.
    pub fn name(&self) -> &CheckpointName {
        &self.name
    }

    /// The save's counters, to be looked at from other threads.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Takes one page; the last content that comes for it counts.
    ///
    /// # Errors
    /// The page is in no block, or has another size; or what was written before could not be.
    pub fn put(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
    ) -> Result<(), StoreError> {
        self.step(|writer| writer.feed(block, page, content))
    }

    /// Makes a checkpoint of all that came, durably, and returns its manifest.
    ///
    /// # Errors
    /// The environment does not let us write, or no RAM block list came. The store is then as it was.
    pub fn publish(mut self, details: Details) -> Result<Manifest, StoreError> {
        if self.failed {
            return Err(StoreError::AlreadyFailed);
        }
        let Some(page_size) = self.page_size else {
            let text =
                "the stream had no list of RAM blocks: there is nothing to make a checkpoint of";
            return Err(StoreError::Misuse(text.into()));
        };
        let Some(feeder) = self.feeder.take() else {
            return Err(StoreError::Unreachable("the threads of the save are gone"));
        };
        let Collected { map, packed } = feeder.finish()?;
        let mut packs = PackList::new(&packed, self.known.packs());
        let (map, counts) = write_map(
            self.session.create()?,
            page_bytes(page_size),
            &map,
            &mut packs,
            &self.keys,
        )?;
        let machine_type = self.state.machine().map(str::to_owned);
        let state = self.state.finish(self.session.create()?, &self.keys)?;
        let blocks = self.blocks.as_slice().iter().zip(counts);
        let ram = RamRecord {
            page_size: page_size.bytes() as u64,
            blocks: blocks.map(|(block, pages)| record(block, pages)).collect(),
            map,
        };
        let written = packed.packs.iter().map(|pack| pack.size);
        let stored_bytes = written.sum::<u64>() + map.size + state.size;
        let mut machine = details.machine;
        machine.machine_type = machine.machine_type.or(machine_type);
        let manifest = Manifest {
            vm: self.name.vm.clone(),
            id: self.name.id.clone(),
            created: details.created.unwrap_or(self.begun),
            parent: None,
            statistics: Statistics {
                stored_bytes,
                stream_bytes: details.stream_bytes,
                ..count(
                    self.progress.counters(),
                    &packed,
                    packs.own_pages(),
                    page_size,
                )
            },
            ram,
            state,
            packs: packs.into_packs(),
            machine,
            block_devices: details.block_devices,
            save: details.save,
            warnings: details.warnings,
            labels: details.labels,
        };
        let json = manifest.to_json(&self.keys)?;
        let objects: Vec<_> = manifest.objects().iter().map(ObjectName::key).collect();
        self.session
            .publish(&objects, &self.name.manifest(), &json)?;
        Ok(manifest)
    }

    fn feed(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
    ) -> Result<(), StoreError> {
        // Zero pages are told apart here and not by the workers: the first word decides for nearly
        // every page, the page is in this core's cache anyway, and so a zero page is never copied.
        let data = match content {
            Page::Data(bytes) if Some(bytes.len()) != self.page_size.map(PageSize::bytes) => {
                let text = format!("a page of {} bytes came", bytes.len());
                return Err(StoreError::Misuse(text));
            }
            Page::Data(bytes) if !is_zero(bytes) => Some(bytes),
            Page::Data(_) | Page::Zero => None,
        };
        let pages = self.lengths.get(block.0).copied().unwrap_or(0);
        let Some(feeder) = self.feeder.as_mut().filter(|_| page.0 < pages) else {
            let text = format!(
                "page {} came for RAM block {}, which has none such",
                page.0, block.0
            );
            return Err(StoreError::Misuse(text));
        };
        match data {
            Some(bytes) => {
                self.progress.page(Content::Data);
                feeder.data(block, page, bytes)
            }
            None => {
                self.progress.page(Content::Zero);
                feeder.zero(block, page)
            }
        }
    }

    /// Starts the threads.
    fn start(&self, page_size: PageSize) -> Result<Feeder, StoreError> {
        let page_bytes = page_bytes(page_size);
        let frame_pages = self.parameters.frame_bytes / page_bytes;
        let parameters = Parameters {
            page_size: page_bytes,
            frame_pages: frame_pages.clamp(1, MAX_FRAME_PAGES),
            zstd_level: self.parameters.zstd_level,
            pack_bytes: self.parameters.pack_bytes,
            workers: self.workers,
        };
        let surroundings = Surroundings {
            session: Arc::clone(&self.session),
            keys: Arc::clone(&self.keys),
            known: Arc::clone(&self.known),
            progress: Arc::clone(&self.progress),
        };
        let pipeline = Pipeline::start(parameters, &surroundings)?;
        Ok(Feeder::new(pipeline, parameters))
    }

    fn check_blocks(&self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), StoreError> {
        let too_large = |what, found, limit| Err(StoreError::TooLarge { what, found, limit });
        if self.page_size.is_some_and(|before| before != page_size) {
            let text = "the page size changed in the middle of the stream";
            return Err(StoreError::Misuse(text.into()));
        }
        if blocks.len() > MAX_BLOCKS {
            let what = "the number of RAM blocks";
            return too_large(what, blocks.len() as u64, MAX_BLOCKS as u64);
        }
        let mut pages: u64 = 0;
        for (_, block) in blocks.iter() {
            if block.idstr.is_empty() || block.idstr.len() > MAX_IDSTR_BYTES {
                let what = "the length of a RAM block's name";
                return too_large(what, block.idstr.len() as u64, MAX_IDSTR_BYTES as u64);
            }
            if block.used_length % page_size.bytes() as u64 != 0 {
                let (idstr, length) = (&block.idstr, block.used_length);
                let text =
                    format!("RAM block '{idstr}' has {length} bytes, no multiple of {page_size}");
                return Err(StoreError::Misuse(text));
            }
            pages = pages.saturating_add(block.pages(page_size));
        }
        if pages > MAX_PAGES {
            return too_large("the number of pages in all RAM blocks", pages, MAX_PAGES);
        }
        Ok(())
    }

    /// Runs a step of the save, which has failed for good if the step fails.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failed {
            return Err(StoreError::AlreadyFailed);
        }
        let result = step(self);
        self.failed = result.is_err();
        result
    }
}

impl Visitor for Writer {
    type Error = StoreError;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), StoreError> {
        self.step(|writer| {
            writer.state.configuration(configuration);
            Ok(())
        })
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), StoreError> {
        self.step(|writer| {
            writer.check_blocks(blocks, page_size)?;
            let mut feeder = match writer.feeder.take() {
                Some(feeder) => feeder,
                None => writer.start(page_size)?,
            };
            let lengths = blocks.iter().map(|(_, block)| block.pages(page_size));
            writer.lengths = lengths.collect();
            feeder.set_lengths(writer.lengths.clone())?;
            writer.feeder = Some(feeder);
            writer.page_size = Some(page_size);
            writer.blocks = blocks.clone();
            Ok(())
        })
    }

    #[inline]
    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), StoreError> {
        self.put(block, page, content)
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), StoreError> {
        self.step(|_| {
            let text =
                "a page came as its differences (XBZRLE), which a store does not put together";
            Err(StoreError::Misuse(text.to_owned()))
        })
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), StoreError> {
        self.step(|writer| writer.state.device(section))
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), StoreError> {
        self.step(|writer| writer.state.vmdesc(json))
    }
}

fn record(block: &RamBlock, pages: PageCounts) -> BlockRecord {
    BlockRecord {
        idstr: block.idstr.clone(),
        used_length: block.used_length,
        host_page_size: block.host_page_size,
        pages,
    }
}

fn count(
    counters: ProgressCounters,
    packed: &Packed,
    used: u64,
    page_size: PageSize,
) -> Statistics {
    let pages_stored: u64 = packed.packs.iter().map(|pack| pack.pages).sum();
    Statistics {
        pages_received: counters.pages,
        pages_zero: counters.zero_pages,
        pages_repeated: counters.repeated_pages,
        pages_stored,
        pages_dead: pages_stored.saturating_sub(used),
        raw_bytes: pages_stored * page_size.bytes() as u64,
        ..Statistics::default()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 64 KiB")]
fn page_bytes(size: PageSize) -> u32 {
    size.bytes() as u32
}
