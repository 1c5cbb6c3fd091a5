//! Anything that holds a machine's state, opened to be asked for its pages: a file of any shape, or a
//! checkpoint.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use anyhow::{Context, Result, anyhow};
use vmferry::container::{Container, ContainerError};
use vmferry::error::Error;
use vmferry::index::{Index, IndexError};
use vmferry::load::{AssumptionKind, Mode, Summary, VmDescRule};
use vmferry::machine::{MachineState, Phase, SavedState};
use vmferry::ram::{
    BlockIndex, Erased, Page, PageError, PageIndex, PageKind, PageRange, PageSize, PageSource,
    RamBlocks,
};
use vmferry::wire::header;
use vmferry_store::{Checkpoint, Manifest};

use crate::args::Global;
use crate::place::{self, SEVERAL_CHANNELS, Stream, Target};
use crate::ui;

/// A machine's state, wherever it is.
pub struct Saved {
    state: MachineState,
    kept: Kept,
}

/// Where it is kept.
enum Kept {
    InFile(Box<Erased<Index>>),
    InStore(Box<Erased<Checkpoint>>),
}

impl Saved {
    /// Opens what a person named: `-` for standard input, a file, or a checkpoint `VM[@ID]`.
    ///
    /// # Errors
    /// There is no such thing, or it is damaged.
    pub fn open(global: &Global, what: &str) -> Result<Self> {
        Self::open_in(global, what, Mode::Strict)
    }

    /// Opens it, also if it is damaged and `rescue` says that what can be taken of it is enough. What is assumed
    /// for that is said as a warning.
    ///
    /// # Errors
    /// There is no such thing, or nothing can be taken of it; or it is damaged and not to be rescued.
    pub fn open_or_rescue(global: &Global, what: &str, rescue: bool) -> Result<Self> {
        if rescue {
            return Self::open_in(global, what, Mode::Rescue);
        }
        Self::open(global, what).map_err(|error| {
            // Where the header is wrong, nothing can be rescued.
            let can_rescue = match error.downcast_ref() {
                Some(IndexError::Read(Error::Format(wrong))) => wrong.at >= header::LEN as u64,
                Some(error) => error.is_damage(),
                None => matches!(error.downcast_ref(), Some(ContainerError::Incomplete)),
            };
            if can_rescue {
                anyhow!("{error:#} (--rescue takes what can be taken of it)")
            } else {
                error
            }
        })
    }

    fn open_in(global: &Global, what: &str, mode: Mode) -> Result<Self> {
        match place::open(global.store.as_deref(), what, "a saved state", mode)? {
            Target::Stream(stream) => Self::of_stream(*stream, mode),
            Target::Checkpoint(checkpoint) => Ok(Self {
                state: SavedState::state(&*checkpoint)?,
                kept: Kept::InStore(Box::new(Erased(*checkpoint))),
            }),
        }
    }

    fn of_stream(stream: Stream, mode: Mode) -> Result<Self> {
        let Stream { opened, name, .. } = stream;
        let findings = opened.findings.clone();
        let index = match mode {
            Mode::Strict => Index::open(opened, VmDescRule::Optional),
            Mode::Rescue => Index::rescue(opened),
        };
        let index = index.with_context(|| match findings.damages().last() {
            Some(damage) if mode == Mode::Rescue => {
                format!("nothing of a machine is left in {name}: {damage}")
            }
            _ => format!("cannot look into {name}"),
        })?;
        for damage in index.findings().damages() {
            ui::warn(damage);
        }
        for note in index.findings().notes() {
            ui::note(note);
        }
        warn_of_assumptions(index.summary());
        warn_of_missing_pages(&index, &name);
        Ok(Self {
            state: index.state().clone(),
            kept: Kept::InFile(Box::new(Erased(index))),
        })
    }

    /// The index of the stream, where it is in a file.
    fn index(&self) -> Option<&Index> {
        match &self.kept {
            Kept::InFile(index) => Some(&index.0),
            Kept::InStore(_) => None,
        }
    }

    /// The checkpoint, where it is one.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.kept {
            Kept::InFile(_) => None,
            Kept::InStore(checkpoint) => Some(&checkpoint.0),
        }
    }

    fn source(&self) -> &dyn PageSource<Error = PageError> {
        match &self.kept {
            Kept::InFile(index) => &**index,
            Kept::InStore(checkpoint) => &**checkpoint,
        }
    }

    /// Everything but the RAM.
    pub fn state(&self) -> &MachineState {
        &self.state
    }

    /// What the stream is in, where it is in a file; of a compressed file, what is in that.
    pub fn container(&self) -> Option<&Container> {
        self.index()?.wrapped_in().map(Container::innermost)
    }

    /// What it is kept in, in words.
    pub fn kept_in(&self) -> String {
        match &self.kept {
            Kept::InFile(index) => index.0.kept_in(),
            Kept::InStore(checkpoint) => checkpoint.0.kept_in(),
        }
    }

    /// The first page of a block, from `from` on, that may be there.
    pub fn next_page(&self, block: BlockIndex, from: PageIndex) -> Option<PageIndex> {
        match self.index() {
            Some(index) => index.next_page(block, from),
            None => Some(from),
        }
    }

    /// What the pass over the stream has seen, where it is a file.
    pub fn summary(&self) -> Option<&Summary> {
        self.index().map(Index::summary)
    }

    /// What is known of the checkpoint, where it is one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.checkpoint().map(Checkpoint::manifest)
    }

    /// That it is damaged, where it was rescued: a sentence for those who see what was made of it.
    pub fn damage(&self) -> Option<String> {
        let index = self.index()?;
        let summary = index.summary();
        let assumptions = (summary.assumptions.iter()).filter(|one| one.kind.is_damage());
        let around = index.findings().damages();
        let around = around.iter().map(ToString::to_string);
        let mut damages = around.chain(assumptions.map(ToString::to_string));
        let first = damages.next()?;
        let more = match damages.count() as u64 + summary.more_assumptions {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("rescued from a damaged file: {first}{more}"))
    }
}

#[deny(clippy::missing_trait_methods)]
impl PageSource for Saved {
    type Error = PageError;

    fn page_size(&self) -> PageSize {
        self.source().page_size()
    }

    fn blocks(&self) -> &RamBlocks {
        self.source().blocks()
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, PageError> {
        self.source().page(block, page, out)
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        self.source().pages(wanted, visit)
    }

    fn pages_of(
        &self,
        block: BlockIndex,
        pages: Range<PageIndex>,
        visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        self.source().pages_of(block, pages, visit)
    }

    fn read(
        &self,
        wanted: &mut dyn Iterator<Item = PageRange>,
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        self.source().read(wanted, visit)
    }
}

/// Says what was assumed of a damaged file.
fn warn_of_assumptions(summary: &Summary) {
    const SHOWN: usize = 16;
    for assumption in summary.assumptions.iter().take(SHOWN) {
        match assumption.kind {
            AssumptionKind::Trailing { .. } => ui::note(assumption),
            _ => ui::warn(assumption),
        }
    }
    let more = summary.assumptions.len().saturating_sub(SHOWN) as u64 + summary.more_assumptions;
    if more > 0 {
        ui::warn(format_args!("and {more} more of the kind"));
    }
}

/// Says which memory is not in the file, but for that of virtio-mem, which has holes by nature. A channel that was
/// recorded without those beside it looks like a whole machine otherwise.
fn warn_of_missing_pages(index: &Index, what: &str) {
    if index.state().lacks_shared_memory() {
        // Commands that cannot do without the shared memory say so.
        return;
    }
    let devices = index.state().devices.iter();
    let early = devices.filter(|device| device.phase() == Phase::Early);
    let with_holes: HashSet<_> = early
        .filter_map(|device| path(&device.header().idstr))
        .collect();
    for (number, block) in index.blocks().iter() {
        let missing = index.pages_missing(number);
        let has_holes = path(&block.idstr).is_some_and(|path| with_holes.contains(path));
        if missing > 0 && !has_holes {
            ui::warn(format_args!(
                "{missing} of {} pages of RAM block '{}' are not in {what}, and are taken for zeros: \
                 {SEVERAL_CHANNELS}",
                block.pages(index.page_size()),
                block.idstr
            ));
        }
    }
}

/// The device that a section or a block belongs to, where its name begins with that.
fn path(idstr: &str) -> Option<&str> {
    idstr.rsplit_once('/').map(|(path, _)| path)
}
