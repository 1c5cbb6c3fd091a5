//! The thread that reads the stream into the store.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, bounded};
use vmferry::channel::ReadChannel;
use vmferry::load::{
    Assumption, Bitmap, Element, LoadError, MappedPages, Options, Origin, Summary, Visitor, load,
};
use vmferry::machine::{Configuration, DeviceSection};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::stream::Reader;
use vmferry::wire::{dirty_bitmap, globalstate};
use vmferry_store::{Progress, StoreError, Writer};

/// A stream on its way into the store.
pub(super) struct Intake {
    progress: Arc<Progress>,
    /// Known once the stream has listed its RAM blocks.
    page_size: Arc<OnceLock<PageSize>>,
    done: Receiver<Taken>,
}

/// A stream that has been read, or could not be.
pub(super) struct Taken {
    /// How it went.
    pub(super) result: Result<Summary, LoadError<IntakeError>>,
    /// What has been read; published or dropped by whoever takes it.
    pub(super) writer: Writer,
    /// The run state that came with the devices.
    pub(super) run_state: Option<String>,
}

/// Why a stream is not taken into the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntakeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "capability 'x-ignore-shared' is on: shared memory is not in this stream, so it would make \
         no whole checkpoint; turn the capability off"
    )]
    SharedMemoryLeftOut,
    #[error(
        "capability 'xbzrle' is on: pages that changed come as differences, which a checkpoint cannot \
         hold; turn the capability off"
    )]
    Differences,
}

impl Intake {
    /// Begins to read `channel` into `writer`.
    pub(super) fn start(
        channel: impl ReadChannel + Send + 'static,
        writer: Writer,
    ) -> std::io::Result<Self> {
        let progress = writer.progress();
        let page_size = Arc::new(OnceLock::new());
        let mut visitor = StoreVisitor {
            writer,
            page_size: Arc::clone(&page_size),
            run_state: None,
        };
        let (sender, done) = bounded(1);
        std::thread::Builder::new()
            .name("intake".into())
            .spawn(move || {
                let mut reader = Reader::new(channel);
                let result = load(&mut reader, &mut visitor, &Options::default());
                // If nobody waits any more, the writer is dropped, and what it wrote with it.
                let _ = sender.send(Taken {
                    result,
                    writer: visitor.writer,
                    run_state: visitor.run_state,
                });
            })?;
        Ok(Self {
            progress,
            page_size,
            done,
        })
    }

    /// Where the end is told.
    pub(super) fn done(&self) -> &Receiver<Taken> {
        &self.done
    }

    /// How far it is.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Bytes of a page; 0 as long as no page has come.
    pub(super) fn page_bytes(&self) -> u64 {
        self.page_size.get().map_or(0, |size| size.bytes() as u64)
    }
}

/// The store's writer, with an eye on what is not for it.
struct StoreVisitor {
    writer: Writer,
    page_size: Arc<OnceLock<PageSize>>,
    run_state: Option<String>,
}

#[deny(clippy::missing_trait_methods)]
impl Visitor for StoreVisitor {
    type Error = IntakeError;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), IntakeError> {
        if configuration.leaves_out_shared_memory() {
            return Err(IntakeError::SharedMemoryLeftOut);
        }
        Ok(self.writer.configuration(configuration)?)
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), IntakeError> {
        // A stream lists them once; one that does so again is refused by the writer.
        let _ = self.page_size.set(page_size);
        Ok(self.writer.ram_blocks(blocks, page_size)?)
    }

    #[inline]
    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), IntakeError> {
        Ok(self.writer.put(block, page, content)?)
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), IntakeError> {
        Err(IntakeError::Differences)
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), IntakeError> {
        if section.idstr == globalstate::IDSTR {
            self.run_state = globalstate::run_state(section.payload)
                .ok()
                .map(str::to_owned);
        }
        Ok(self.writer.device(section)?)
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), IntakeError> {
        Ok(self.writer.vmdesc(json)?)
    }

    fn mapped_block(
        &mut self,
        block: BlockIndex,
        bitmap: &Bitmap,
        offset: u64,
    ) -> Result<MappedPages, IntakeError> {
        Ok(self.writer.mapped_block(block, bitmap, offset)?)
    }

    fn dirty_bitmap(
        &mut self,
        node: &str,
        bitmap: &str,
        content: &dirty_bitmap::Content,
    ) -> Result<(), IntakeError> {
        Ok(self.writer.dirty_bitmap(node, bitmap, content)?)
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), IntakeError> {
        Ok(self.writer.element(element)?)
    }

    fn assumption(&mut self, assumption: &Assumption) -> Result<(), IntakeError> {
        Ok(self.writer.assumption(assumption)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use vmferry::channel::File;
    use vmferry::load::Image;
    use vmferry::ram::RamBlock;
    use vmferry_store::{SaveOptions, Store};

    use super::*;

    #[test]
    fn progress_is_in_pages_of_the_machine() {
        let page_size = PageSize::new(64 << 10).unwrap();
        let block = RamBlock {
            idstr: "ram".into(),
            used_length: 3 << 16,
            host_page_size: None,
        };
        let mut machine = Image::default();
        machine.state.configuration = Some(Configuration {
            machine: "virt-7.2".into(),
            target_page_bits: Some(16),
            capabilities: Vec::new(),
            uuid: None,
        });
        let Ok(()) = machine.ram_blocks(&[block].into_iter().collect(), page_size);
        for page in 0..3 {
            machine.put(BlockIndex(0), PageIndex(page), Page::Zero);
        }
        let mut stream = Vec::new();
        let sent = vmferry::progress::Progress::default();
        vmferry::save::precopy(&mut stream, &machine.state, &machine, &sent).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path().join("store")).unwrap();
        let options = SaveOptions::default();
        let writer = store.save("vm".parse().unwrap(), &options).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&stream).unwrap();
        file.rewind().unwrap();
        let intake = Intake::start(File::new(file), writer).unwrap();
        // It has no description, so it is not taken in the end.
        drop(intake.done().recv().unwrap());
        assert_eq!(intake.progress().counters().pages, 3);
        assert_eq!(intake.page_bytes(), 64 << 10);
    }
}
