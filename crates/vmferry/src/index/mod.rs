//! A saved state that was read once, and can then be asked for any page.
//!
//! [`Index::open`] makes one pass over a stream and keeps, for each page, where its bytes are: in the
//! container, where it can be read at any place, or in a temporary file without a name. It holds eight
//! bytes for each page, and no page.
//!
//! ```text
//!               plain stream    mapped-ram: a file      differences, compressed pages,
//!               with places     with places             no places
//! the pass      reads all       reads the bitmaps only  reads all, and writes pages
//!                                                       to the temporary file
//! a page is in  the container   the container           the temporary file
//! ```
//!
//! The temporary file is in `TMPDIR`, or in `/tmp`. It takes at most as much as the machine's RAM in use, and
//! is an error where the file system has no such room.

mod filling;
mod places;
mod runs;
mod spool;
mod state;

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;

use crate::channel::ReadChannel;
use crate::container::{Container, Findings, Opened, ReadAt, read_out};
use crate::error::Error;
use crate::load::{
    ChannelName, Channels, LoadError, Mode, Options, OtherSections, Summary, VmDescRule, load,
    load_channels,
};
use crate::machine::MachineState;
use crate::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlocks, is_zero};
use crate::stream::Reader;
use crate::wire::Source;
use filling::Filling;
use places::{OFFSETS, Place, Places};
use runs::{Failed, Medium, Run};
use spool::Spool;

/// A saved state with its pages where they are.
pub struct Index {
    state: MachineState,
    summary: Summary,
    page_size: PageSize,
    blocks: RamBlocks,
    places: Places,
    /// The channels whose bytes can be read again.
    channels: Vec<(ChannelName, Arc<dyn ReadAt>)>,
    wrapped_in: Option<Container>,
    findings: Findings,
    spool: Option<Spool>,
}

/// Why there is no index, or no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The stream is wrong, or could not be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// Pages could not be kept in the temporary file.
    #[error(
        "the temporary file for pages in {} failed (TMPDIR names another folder)",
        folder.display()
    )]
    Spool {
        /// Where it is.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no room for the temporary file.
    #[error(
        "pages that cannot be read again need a temporary file, and there is no room for it in {}: it has {spooled} \
         bytes so far, and {free} are free; let TMPDIR name a folder with room for the machine's RAM",
        folder.display()
    )]
    NoRoom {
        /// Where it is.
        folder: PathBuf,
        /// Bytes that it takes so far.
        spooled: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A page is not any more where it was.
    #[error("page {page} of RAM block '{block}' cannot be read again")]
    Page {
        /// The block.
        block: Box<str>,
        /// The page.
        page: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl IndexError {
    /// Whether the saved state is wrong, rather than that it, or the temporary file, could not be read.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_damage())
    }
}

impl Index {
    /// Reads the whole stream in an opened container, with all of its channels. Sections that are not kept,
    /// like block devices' dirty bitmaps, are passed over: [`summary`](Self::summary) names them.
    ///
    /// # Errors
    /// The stream is wrong, or could not be read; or the temporary file could not be written.
    pub fn open(opened: Opened, vmdesc: VmDescRule) -> Result<Self, IndexError> {
        Self::open_in(opened, vmdesc, Mode::Strict)
    }

    /// As [`open`](Self::open), of a stream that may be damaged or cut: what of it can be taken. What was assumed
    /// for that, [`summary`](Self::summary) tells; pages that were lost are absent.
    ///
    /// # Errors
    /// Nothing can be taken of it; or the temporary file could not be written.
    pub fn rescue(opened: Opened) -> Result<Self, IndexError> {
        Self::open_in(opened, VmDescRule::Optional, Mode::Rescue)
    }

    fn open_in(opened: Opened, vmdesc: VmDescRule, mode: Mode) -> Result<Self, IndexError> {
        let options = Options {
            mode,
            vmdesc,
            other_sections: OtherSections::PassOver,
            file_offset: opened.file_offset,
            ..Options::default()
        };
        let findings = opened.findings.clone();
        let (container, mut channels, places) = opened.into_parts();
        let mut index = Self::read_channels(&mut channels, places, &options)?;
        match read_out(&mut channels, &findings) {
            // All of the stream was read before.
            Err(_) if mode == Mode::Rescue => {}
            result => result?,
        }
        index.wrapped_in = Some(container);
        index.findings = findings;
        Ok(index)
    }

    /// Reads a whole stream. `container` is where its bytes can be read again, by their offset in the
    /// stream.
    ///
    /// # Errors
    /// The stream is wrong, or could not be read; or the temporary file could not be written.
    pub fn read<C: ReadChannel>(
        stream: &mut Reader<C>,
        container: Option<Arc<dyn ReadAt>>,
        options: &Options,
    ) -> Result<Self, IndexError> {
        let places = container.map(|place| (ChannelName::Main, place));
        Self::fill(places.into_iter().collect(), options.mode, |filling| {
            load(stream, filling, options)
        })
    }

    /// Reads all the recorded channels of a machine. `places` are those of them that can be read again, by
    /// their names: without one, its pages go to the temporary file.
    ///
    /// # Errors
    /// As for [`Index::read`].
    pub fn read_channels<S: Source<Error: Into<Error>>>(
        channels: &mut Channels<S>,
        places: Vec<(ChannelName, Arc<dyn ReadAt>)>,
        options: &Options,
    ) -> Result<Self, IndexError> {
        Self::fill(places, options.mode, |filling| {
            load_channels(channels, filling, options)
        })
    }

    fn fill(
        channels: Vec<(ChannelName, Arc<dyn ReadAt>)>,
        mode: Mode,
        load: impl FnOnce(&mut Filling<'_>) -> Result<Summary, LoadError<IndexError>>,
    ) -> Result<Self, IndexError> {
        let mut index = Self {
            state: MachineState::default(),
            summary: Summary::default(),
            page_size: PageSize::X86,
            blocks: RamBlocks::default(),
            places: Places::default(),
            channels,
            wrapped_in: None,
            findings: Findings::default(),
            spool: None,
        };
        let summary = load(&mut Filling::new(&mut index, mode));
        index.summary = summary.map_err(|error| match error {
            LoadError::Read(error) => IndexError::Read(error),
            LoadError::Visitor(error) => error,
        })?;
        if let Some(spool) = &mut index.spool {
            spool.write_out()?;
        }
        Ok(index)
    }

    /// Everything but the RAM.
    pub fn state(&self) -> &MachineState {
        &self.state
    }

    /// What the pass over the stream has seen.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What the stream was wrapped in, where that is known.
    pub fn wrapped_in(&self) -> Option<&Container> {
        self.wrapped_in.as_ref()
    }

    /// The first page of a block, from `from` on, that may have come. A stream may say that a block is far larger than
    /// all that comes of it: those who go through it in pieces leave out what this leaves out.
    pub fn next_page(&self, block: BlockIndex, from: PageIndex) -> Option<PageIndex> {
        let pages = self.blocks.get(block)?.pages(self.page_size);
        self.places.next(block, from..PageIndex(pages))
    }

    /// What is wrong with that, and what was passed over in it.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// How many pages of a block never came. Some machines leave pages out (virtio-mem, hints of free pages);
    /// otherwise another channel had them.
    pub fn pages_missing(&self, block: BlockIndex) -> u64 {
        let pages = self
            .blocks
            .get(block)
            .map(|block| block.pages(self.page_size));
        pages.map_or(0, |pages| pages.saturating_sub(self.places.count(block)))
    }

    fn page_offset(&self, slot: u64) -> u64 {
        slot << self.page_size.bits()
    }

    fn read_medium(&self, medium: Medium, out: &mut [u8], offset: u64) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        match (medium, &self.spool) {
            (Medium::Channel(number), _) => match self.channels.get(usize::from(number)) {
                Some((_, place)) => place.read_exact_at(out, offset),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            (Medium::Spool, Some(spool)) => spool.read(out, offset),
            (Medium::Spool, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Where something is at an offset of a channel, if it can be read again there.
    fn place_of(&self, channel: ChannelName, offset: u64) -> Option<Place> {
        let number = self
            .channels
            .iter()
            .position(|(name, _)| *name == channel)?;
        let number = u8::try_from(number).ok()?;
        (offset < OFFSETS).then_some(Place::Channel(number, offset))
    }

    fn lost(&self, block: BlockIndex, page: PageIndex, source: io::Error) -> IndexError {
        let block = self.blocks.get(block);
        IndexError::Page {
            block: block.map_or("?", |block| &block.idstr).into(),
            page: page.0,
            source,
        }
    }
}

impl PageSource for Index {
    type Error = IndexError;

    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn blocks(&self) -> &RamBlocks {
        &self.blocks
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, IndexError> {
        let (medium, offset) = match self.places.get(block, page) {
            Place::Absent => return Ok(PageKind::Absent),
            Place::Zero => return Ok(PageKind::Zero),
            Place::Channel(channel, offset) => (Medium::Channel(channel), offset),
            Place::Spool(slot) => (Medium::Spool, self.page_offset(slot)),
        };
        self.read_medium(medium, out, offset)
            .map_err(|error| self.lost(block, page, error))?;
        Ok(if is_zero(out) {
            PageKind::Zero
        } else {
            PageKind::Data
        })
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        let mut run = Run::new();
        for (block, ram) in self.blocks.iter() {
            let pages = PageIndex(0)..PageIndex(ram.pages(self.page_size));
            let walked = self.walk(&mut run, block, pages, wanted, visit)?;
            if walked.is_break() {
                return Ok(());
            }
        }
        self.show(&mut run, visit).map(drop)
    }

    fn pages_of(
        &self,
        block: BlockIndex,
        pages: Range<PageIndex>,
        visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        let mut visit = |_, page, content: Page<'_>| visit(page, content);
        let mut run = Run::new();
        let walked = self.walk(&mut run, block, pages, &|_, _| true, &mut visit)?;
        if walked.is_break() {
            return Ok(());
        }
        self.show(&mut run, &mut visit).map(drop)
    }
}

/// What is to be done with a page.
type Visit<'a> = dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()> + 'a;

impl Index {
    /// Takes up pages of a block, and shows those of them that go together. What was taken up last is still to
    /// be shown.
    fn walk(
        &self,
        run: &mut Run,
        block: BlockIndex,
        pages: Range<PageIndex>,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, IndexError> {
        let mut next = pages.start;
        while let Some(page) = self.places.next(block, next..pages.end) {
            next = PageIndex(page.0 + 1);
            let place = self.places.get(block, page);
            if place == Place::Absent || !wanted(block, page) {
                continue;
            }
            while !run.take(self, block, page, place) {
                if self.show(run, visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn show(&self, run: &mut Run, visit: &mut Visit<'_>) -> Result<ControlFlow<()>, IndexError> {
        run.show(self, visit).map_err(
            |Failed {
                 block,
                 page,
                 source,
             }| self.lost(block, page, source),
        )
    }
}
