//! Commands: what the source tells the destination, and a stream that switches to postcopy.
//!
//! ```text
//! NONE ─ADVISE─► ADVISE ─RAM_DISCARD─► DISCARD ─LISTEN─► LISTENING ─RUN─► RUNNING
//!                   └────────────LISTEN──────────────────►
//! ```

use super::pass::{Ended, Level, Pass};
use super::ram::Stage;
use super::report::ElementStart;
use super::{AssumptionKind, ElementKind, LoadError, Visitor};
use crate::error::{Error, FormatError};
use crate::ram::RamBlock;
use crate::wire::command::{Command, PostcopyAdvise, RamDiscard};
use crate::wire::ram::ListFields;
use crate::wire::{SliceSource, Source, limits};

const WHAT: &str = "a command";

/// How far a stream is on its way into postcopy. The numbers are those in QEMU's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum State {
    #[default]
    None = 0,
    Advise = 1,
    Discard = 2,
    Listening = 3,
    Running = 4,
}

/// What commands have said.
#[derive(Debug, Default)]
pub(super) struct Postcopy {
    state: State,
    return_path: bool,
}

impl Postcopy {
    /// Whether pages come behind the devices, and no description at the end.
    pub(super) fn has_switched(&self) -> bool {
        self.state >= State::Listening
    }

    /// Goes on from one of `from` to `to`.
    fn goes(&mut self, name: &str, from: &[State], to: State, at: u64) -> Result<(), FormatError> {
        let state = self.state;
        self.state = self.state.max(to);
        if from.contains(&state) {
            return Ok(());
        }
        let number = state as u8;
        let found = format!("CMD_POSTCOPY_{name} in wrong postcopy state ({number})");
        let expected = "the commands of a postcopy migration in their order";
        Err(FormatError::unexpected(at, WHAT, expected, found))
    }
}

impl<V: Visitor> Pass<'_, V> {
    /// Reads a command, behind its type byte.
    pub(super) fn command<T: Source>(
        &mut self,
        source: &mut T,
        begin: ElementStart,
        level: Level,
    ) -> Result<Option<Ended>, LoadError<V::Error>> {
        let command = Command::decode(source)?;
        if let Command::Packaged(len) = command {
            self.report
                .element(begin, source.position(), ElementKind::Command(&command))?;
            self.package(source, begin, level, len)?;
            return Ok(None);
        }
        let ended = self.obey(&command, begin, level)?;
        self.report
            .element(begin, source.position(), ElementKind::Command(&command))?;
        Ok(ended)
    }

    fn obey(
        &mut self,
        command: &Command,
        begin: ElementStart,
        level: Level,
    ) -> Result<Option<Ended>, LoadError<V::Error>> {
        use State::{Advise, Discard, Listening, None as Nothing, Running};
        let at = begin.offset();
        match command {
            Command::OpenReturnPath => {
                if std::mem::replace(&mut self.postcopy.return_path, true) {
                    self.report.ignore(
                        at,
                        "OPEN_RETURN_PATH although the return path is open already",
                    )?;
                }
            }
            Command::Ping(_) if self.postcopy.return_path => {}
            Command::Ping(_) => {
                let expected = "OPEN_RETURN_PATH before it";
                let found = "CMD_PING (0x1) received with no return path";
                self.report
                    .accept(FormatError::unexpected(at, WHAT, expected, found))?;
            }
            Command::SwitchoverStart => {}
            Command::PostcopyAdvise(advise) => {
                let moved = self.postcopy.goes("ADVISE", &[Nothing], Advise, at);
                self.allow(moved)?;
                self.advise(*advise, at)?;
            }
            Command::PostcopyRamDiscard(discard) => {
                let from = [Advise, Discard];
                let moved = self.postcopy.goes("RAM_DISCARD", &from, Discard, at);
                self.allow(moved)?;
                let checked = self.check_discard(discard, at);
                self.allow(checked)?;
            }
            Command::PostcopyListen => {
                let moved = self
                    .postcopy
                    .goes("LISTEN", &[Advise, Discard], Listening, at);
                self.allow(moved)?;
                self.stage = Stage::Postcopy;
                self.summary.switched_to_postcopy = true;
            }
            Command::PostcopyRun => {
                let moved = self.postcopy.goes("RUN", &[Listening], Running, at);
                self.allow(moved)?;
                // Whatever stands behind it in its package is never read.
                if level == Level::Package {
                    return Ok(Some(Ended::Package));
                }
            }
            Command::PostcopyResume => {
                self.report
                    .ignore(at, "POSTCOPY_RESUME outside of a recovery")?;
            }
            Command::RecvBitmap(block) => {
                if self.blocks.find(block).is_none() {
                    let expected = "a RAM block of the list";
                    let found = format!("RECV_BITMAP of block '{block}', which was not found");
                    self.report
                        .accept(FormatError::unexpected(at, WHAT, expected, found))?;
                }
                self.report
                    .ignore(at, "RECV_BITMAP outside of a recovery")?;
            }
            Command::EnableColo => {
                let error = FormatError::unsupported(at, "a COLO stream (ENABLE_COLO)");
                return Err(Error::from(error).into());
            }
            // The caller has it.
            Command::Packaged(_) => {}
        }
        Ok(None)
    }

    fn allow(&mut self, result: Result<(), FormatError>) -> Result<(), LoadError<V::Error>> {
        result.or_else(|error| self.report.accept(error))
    }

    fn advise(&mut self, advise: PostcopyAdvise, at: u64) -> Result<(), LoadError<V::Error>> {
        let PostcopyAdvise::Ram {
            page_sizes,
            target_page_size,
        } = advise
        else {
            return Ok(());
        };
        self.list_fields = ListFields::HostPageSize;
        let ours = self.page_size.bytes() as u64;
        if target_page_size != ours {
            let expected = format!("matching target page sizes, {ours}");
            let error = FormatError::unexpected(at, WHAT, expected, target_page_size);
            self.report.accept(error)?;
        }
        if page_sizes & self.page_size.mask() != 0 || page_sizes == 0 {
            let expected = "matching RAM page sizes";
            let found = format!("{page_sizes:#x}");
            self.report
                .accept(FormatError::unexpected(at, WHAT, expected, found))?;
        }
        Ok(())
    }

    fn check_discard(&self, discard: &RamDiscard, at: u64) -> Result<(), FormatError> {
        let index = self.blocks.find(&discard.block);
        let Some(block) = index.and_then(|index| self.blocks.get(index)) else {
            let found = format!(
                "ram_discard_range: failed to find block '{}'",
                discard.block
            );
            let expected = "a RAM block of the list";
            return Err(FormatError::unexpected(at, WHAT, expected, found));
        };
        let RamBlock {
            host_page_size,
            used_length,
            ..
        } = block;
        let mask = host_page_size.map_or(self.page_size.mask(), |size| size.saturating_sub(1));
        for range in &discard.ranges {
            let (start, end) = (range.start, range.end);
            if (start | end) & mask != 0 {
                let found = format!("unaligned start address or length: {start:#x} to {end:#x}");
                return Err(FormatError::unexpected(at, WHAT, "ranges of pages", found));
            }
            // This one would kill a destination.
            if start >= *used_length && start != end || end > *used_length {
                let expected = format!("ranges within the block's length {used_length:#x}");
                let found = format!("a discard of {start:#x} to {end:#x}");
                return Err(FormatError::unexpected(at, WHAT, expected, found));
            }
        }
        Ok(())
    }

    /// Reads a package of `len` bytes: elements that QEMU, too, has whole before it looks at them.
    fn package<T: Source>(
        &mut self,
        source: &mut T,
        begin: ElementStart,
        level: Level,
        len: u32,
    ) -> Result<(), LoadError<V::Error>> {
        const PACKAGE: &str = "a package";
        let at = begin.offset();
        if level == Level::Package {
            let error = FormatError::unsupported(at, "a package in a package");
            return Err(Error::from(error).into());
        }
        let limit = limits::PACKAGE;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= limit) else {
            let error = FormatError::too_long(at, PACKAGE, len.into(), limit as u64);
            return Err(Error::from(error).into());
        };
        let start = source.position();
        let mut bytes = Vec::new();
        let whole = loop {
            let left = len - bytes.len();
            if left == 0 {
                break Ok(());
            }
            let there = match source.peek_some() {
                Ok([]) => {
                    let (wanted, got) = (len as u64, bytes.len() as u64);
                    break Err(FormatError::truncated(start, PACKAGE, wanted, got).into());
                }
                Ok(there) => there.len().min(left),
                Err(error) => break Err(error),
            };
            bytes.extend_from_slice(source.take(there, PACKAGE)?);
        };
        match whole {
            Err(error) if !self.report.rescues(&error) => return Err(error.into()),
            _ => self.read_package(&bytes, start)?,
        }
        Ok(whole?)
    }

    fn read_package(&mut self, bytes: &[u8], start: u64) -> Result<(), LoadError<V::Error>> {
        let mut inner = SliceSource::at(bytes, start);
        self.elements(&mut inner, Level::Package)?;
        // The stream goes on behind it.
        self.cut = false;
        match inner.rest().len() {
            0 => Ok(()),
            left => {
                let what = format!("{left} bytes of a package behind its end");
                self.report
                    .assume(inner.position(), None, AssumptionKind::Ignored { what })
            }
        }
    }
}
