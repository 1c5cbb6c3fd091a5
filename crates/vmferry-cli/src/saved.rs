//! Anything that holds a machine's state, opened to be asked for its pages: a file of any shape, or a
//! checkpoint.

use std::collections::HashSet;
use std::fs::File;
use std::ops::{ControlFlow, Range};

use anyhow::{Context, Result, anyhow};
use vmferry::container::{Container, ContainerError};
use vmferry::error::Error;
use vmferry::index::{Index, IndexError};
use vmferry::load::{AssumptionKind, Mode, Summary, VmDescRule};
use vmferry::machine::{MachineState, Phase, SavedState};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlocks};
use vmferry::wire::{configuration, header};
use vmferry_store::{Checkpoint, Manifest, StoreError};

use crate::args::Global;
use crate::place::{Found, Part, SEVERAL_CHANNELS, find};
use crate::ui;

/// A machine's state, wherever it is.
pub struct Saved {
    state: MachineState,
    kind: Kind,
}

enum Kind {
    File(Box<Index>),
    Checkpoint(Box<Checkpoint>),
}

/// A page could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// From a file.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// From a checkpoint.
    #[error(transparent)]
    Store(#[from] StoreError),
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
        match find(global.store.as_deref(), what, "a saved state")? {
            Found::File(file, name, part) => Self::file(file, &name, &part, mode),
            Found::Checkpoint(checkpoint) => Ok(Self {
                state: checkpoint.device_state()?.to_machine_state(),
                kind: Kind::Checkpoint(checkpoint),
            }),
        }
    }

    fn file(file: File, what: &str, part: &Part, mode: Mode) -> Result<Self> {
        let (opened, _) = part.open(file, what, mode)?;
        let findings = opened.findings.clone();
        let index = match mode {
            Mode::Strict => Index::open(opened, VmDescRule::Optional),
            Mode::Rescue => Index::rescue(opened),
        };
        let index = index.with_context(|| match findings.damages().last() {
            Some(damage) if mode == Mode::Rescue => {
                format!("nothing of a machine is left in {what}: {damage}")
            }
            _ => format!("cannot look into {what}"),
        })?;
        for damage in index.findings().damages() {
            ui::warn(damage);
        }
        for note in index.findings().notes() {
            ui::note(note);
        }
        warn_of_assumptions(index.summary());
        warn_of_missing_pages(&index, what);
        Ok(Self {
            state: index.state().clone(),
            kind: Kind::File(Box::new(index)),
        })
    }

    /// Everything but the RAM.
    pub fn state(&self) -> &MachineState {
        &self.state
    }

    /// What the stream is in, where it is in a file; of a compressed file, what is in that.
    pub fn container(&self) -> Option<&Container> {
        match &self.kind {
            Kind::File(index) => index.wrapped_in().map(Container::innermost),
            Kind::Checkpoint(_) => None,
        }
    }

    /// The first page of a block, from `from` on, that may be there.
    pub fn next_page(&self, block: BlockIndex, from: PageIndex) -> Option<PageIndex> {
        match &self.kind {
            Kind::File(index) => index.next_page(block, from),
            Kind::Checkpoint(_) => Some(from),
        }
    }

    /// What the pass over the stream has seen, where it is a file.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.kind {
            Kind::File(index) => Some(index.summary()),
            Kind::Checkpoint(_) => None,
        }
    }

    /// That it is damaged, where it was rescued: a sentence for whoever sees what was made of it.
    pub fn damage(&self) -> Option<String> {
        let Kind::File(index) = &self.kind else {
            return None;
        };
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

    /// The checkpoint, where it is one.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.kind {
            Kind::File(..) => None,
            Kind::Checkpoint(checkpoint) => Some(checkpoint),
        }
    }

    /// What is known of the checkpoint, where it is one.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.kind {
            Kind::File(..) => None,
            Kind::Checkpoint(checkpoint) => Some(checkpoint.manifest()),
        }
    }
}

impl PageSource for Saved {
    type Error = SavedError;

    fn page_size(&self) -> PageSize {
        match &self.kind {
            Kind::File(index) => index.page_size(),
            Kind::Checkpoint(checkpoint) => checkpoint.page_size(),
        }
    }

    fn blocks(&self) -> &RamBlocks {
        match &self.kind {
            Kind::File(index) => index.blocks(),
            Kind::Checkpoint(checkpoint) => checkpoint.blocks(),
        }
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, SavedError> {
        Ok(match &self.kind {
            Kind::File(index) => index.page(block, page, out)?,
            Kind::Checkpoint(checkpoint) => checkpoint.page(block, page, out)?,
        })
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), SavedError> {
        match &self.kind {
            Kind::File(index) => index.pages(wanted, visit)?,
            Kind::Checkpoint(checkpoint) => checkpoint.pages(wanted, visit)?,
        }
        Ok(())
    }

    fn pages_of(
        &self,
        block: BlockIndex,
        pages: Range<PageIndex>,
        visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), SavedError> {
        match &self.kind {
            Kind::File(index) => index.pages_of(block, pages, visit)?,
            Kind::Checkpoint(checkpoint) => checkpoint.pages_of(block, pages, visit)?,
        }
        Ok(())
    }
}

impl SavedState for Saved {
    fn state(&self) -> Result<MachineState, SavedError> {
        Ok(self.state.clone())
    }

    fn kept_in(&self) -> String {
        match &self.kind {
            Kind::File(index) => index.kept_in(),
            Kind::Checkpoint(checkpoint) => checkpoint.kept_in(),
        }
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
    let configuration = index.state().configuration.as_ref();
    if configuration.is_some_and(|c| c.has_capability(configuration::X_IGNORE_SHARED)) {
        // Whoever cannot do without the shared memory says so.
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
