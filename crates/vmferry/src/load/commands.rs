//! Commands: what the source asks of the destination, and how a stream switches to postcopy.
//!
//! ```text
//! NONE ─ADVISE─► ADVISE ─RAM_DISCARD─► DISCARD ─LISTEN─► LISTENING ─RUN─► RUNNING
//!                   └────────────LISTEN──────────────────►
//! ```

use super::report::Report;
use super::{LoadError, Visitor};
use crate::error::{Error, FormatError};
use crate::ram::{PageSize, RamBlock, RamBlocks};
use crate::wire::command::{Command, PostcopyAdvise, RamDiscard};
use crate::wire::ram::ListFields;

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

/// What a command changes in how the stream is read from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    /// Nothing.
    Nothing,
    /// Lists of RAM blocks have these fields from now on.
    Fields(ListFields),
    /// Only pages as they are may come from now on.
    Listen,
    /// In a package, nothing more is read.
    EndPackage,
    /// A package of this many bytes follows.
    Package(u32),
}

/// What commands have said so far.
#[derive(Debug, Default)]
pub(super) struct Commands {
    state: State,
    has_listened: bool,
    has_return_path: bool,
}

impl Commands {
    /// Whether pages come after the devices, and no description at the end.
    pub(super) fn has_switched(&self) -> bool {
        self.state >= State::Listening
    }

    /// Whether there was a LISTEN: without one, a damaged stream can have switched.
    pub(super) fn has_listened(&self) -> bool {
        self.has_listened
    }

    /// Checks a command, which begins at offset `at`, and returns what it changes.
    pub(super) fn obey<V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        blocks: &RamBlocks,
        page_size: PageSize,
        command: &Command,
        at: u64,
    ) -> Result<Effect, LoadError<V::Error>> {
        use State::{Advise, Discard, Listening, None as Nothing, Running};
        match command {
            Command::OpenReturnPath => {
                if std::mem::replace(&mut self.has_return_path, true) {
                    let what = "OPEN_RETURN_PATH although the return path is open already";
                    report.ignore(at, what)?;
                }
            }
            Command::Ping(_) if self.has_return_path => {}
            Command::Ping(_) => {
                let expected = "OPEN_RETURN_PATH before it";
                let found = "CMD_PING (0x1) received with no return path";
                report.accept(FormatError::unexpected(at, WHAT, expected, found))?;
            }
            Command::SwitchoverStart => {}
            Command::PostcopyAdvise(advise) => {
                self.advance(report, "ADVISE", &[Nothing], Advise, at)?;
                return check_advice(report, *advise, page_size, at);
            }
            Command::PostcopyRamDiscard(discard) => {
                self.advance(report, "RAM_DISCARD", &[Advise, Discard], Discard, at)?;
                if let Err(error) = check_discard(blocks, page_size, discard, at) {
                    report.accept(error)?;
                }
            }
            Command::PostcopyListen => {
                self.advance(report, "LISTEN", &[Advise, Discard], Listening, at)?;
                self.has_listened = true;
                return Ok(Effect::Listen);
            }
            Command::PostcopyRun => {
                self.advance(report, "RUN", &[Listening], Running, at)?;
                return Ok(Effect::EndPackage);
            }
            Command::PostcopyResume => {
                report.ignore(at, "POSTCOPY_RESUME outside of a recovery")?;
            }
            Command::RecvBitmap(block) => {
                if blocks.find(block).is_none() {
                    let expected = "a RAM block of the list";
                    let found = format!("RECV_BITMAP of block '{block}', which was not found");
                    report.accept(FormatError::unexpected(at, WHAT, expected, found))?;
                }
                report.ignore(at, "RECV_BITMAP outside of a recovery")?;
            }
            Command::EnableColo => {
                let error = FormatError::unsupported(at, "a COLO stream (ENABLE_COLO)");
                return Err(Error::from(error).into());
            }
            Command::Packaged(len) => return Ok(Effect::Package(*len)),
        }
        Ok(Effect::Nothing)
    }

    /// Goes on from one of `from` to `to`, and never back.
    fn advance<V: Visitor>(
        &mut self,
        report: &mut Report<'_, V>,
        name: &str,
        from: &[State],
        to: State,
        at: u64,
    ) -> Result<(), LoadError<V::Error>> {
        let state = self.state;
        self.state = self.state.max(to);
        if from.contains(&state) {
            return Ok(());
        }
        let number = state as u8;
        let found = format!("CMD_POSTCOPY_{name} in wrong postcopy state ({number})");
        let expected = "the commands of a postcopy migration in their order";
        report.accept(FormatError::unexpected(at, WHAT, expected, found))
    }
}

fn check_advice<V: Visitor>(
    report: &mut Report<'_, V>,
    advise: PostcopyAdvise,
    page_size: PageSize,
    at: u64,
) -> Result<Effect, LoadError<V::Error>> {
    let PostcopyAdvise::Ram {
        page_sizes,
        target_page_size,
    } = advise
    else {
        return Ok(Effect::Nothing);
    };
    let ours = page_size.bytes() as u64;
    if target_page_size != ours {
        let expected = format!("matching target page sizes, {ours}");
        report.accept(FormatError::unexpected(
            at,
            WHAT,
            expected,
            target_page_size,
        ))?;
    }
    if page_sizes & page_size.mask() != 0 || page_sizes == 0 {
        let expected = "matching RAM page sizes";
        let found = format!("{page_sizes:#x}");
        report.accept(FormatError::unexpected(at, WHAT, expected, found))?;
    }
    Ok(Effect::Fields(ListFields::HostPageSize))
}

fn check_discard(
    blocks: &RamBlocks,
    page_size: PageSize,
    discard: &RamDiscard,
    at: u64,
) -> Result<(), FormatError> {
    let index = blocks.find(&discard.block);
    let Some(block) = index.and_then(|index| blocks.get(index)) else {
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
    let mask = host_page_size.map_or(page_size.mask(), |size| size.saturating_sub(1));
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
#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Mode;
    use crate::load::test_log::Log;

    const ADVISE: Command = Command::PostcopyAdvise(PostcopyAdvise::Ram {
        page_sizes: 0x1000,
        target_page_size: 0x1000,
    });

    fn blocks() -> RamBlocks {
        let mut blocks = RamBlocks::default();
        blocks.insert(RamBlock {
            idstr: "pc.ram".into(),
            used_length: 0x4000,
            host_page_size: None,
        });
        blocks
    }

    fn discard(block: &str, start: u64, end: u64) -> Command {
        Command::PostcopyRamDiscard(RamDiscard {
            block: block.into(),
            ranges: std::iter::once(start..end).collect(),
        })
    }

    /// What commands change, up to the first that is wrong; and what was noted.
    fn obey(
        mode: Mode,
        commands: &[Command],
    ) -> (Commands, Result<Vec<Effect>, String>, Vec<String>) {
        let mut log = Log::default();
        let mut report = Report::new(&mut log, mode);
        let mut state = Commands::default();
        let blocks = blocks();
        let mut obey = |command| state.obey(&mut report, &blocks, PageSize::X86, command, 9);
        let effects = commands
            .iter()
            .map(&mut obey)
            .collect::<Result<Vec<_>, _>>();
        let effects = effects.map_err(|error| error.to_string());
        (state, effects, log.events)
    }

    fn refusal(commands: &[Command]) -> String {
        obey(Mode::Strict, commands).1.unwrap_err()
    }

    #[test]
    fn a_stream_switches_step_by_step_and_each_step_says_what_it_changes() {
        let (state, effects, noted) = obey(
            Mode::Strict,
            &[
                Command::OpenReturnPath,
                Command::Ping(1),
                ADVISE,
                discard("pc.ram", 0x1000, 0x4000),
                Command::Packaged(77),
                Command::PostcopyListen,
                Command::PostcopyRun,
            ],
        );
        let (nothing, fields) = (Effect::Nothing, Effect::Fields(ListFields::HostPageSize));
        let (package, listen) = (Effect::Package(77), Effect::Listen);
        let expected = [
            nothing,
            nothing,
            fields,
            nothing,
            package,
            listen,
            Effect::EndPackage,
        ];
        assert_eq!(effects.unwrap(), expected);
        assert!(state.has_switched() && state.has_listened());
        assert_eq!(noted, [""; 0]);
    }

    #[test]
    fn a_step_out_of_order_is_refused_with_the_number_of_the_state() {
        for (commands, says) in [
            (
                &[Command::PostcopyListen][..],
                "CMD_POSTCOPY_LISTEN in wrong postcopy state (0)",
            ),
            (
                &[ADVISE, ADVISE],
                "CMD_POSTCOPY_ADVISE in wrong postcopy state (1)",
            ),
            (
                &[ADVISE, Command::PostcopyRun],
                "CMD_POSTCOPY_RUN in wrong postcopy state (1)",
            ),
        ] {
            let error = refusal(commands);
            assert!(error.contains(says), "{error}");
            assert!(error.contains("at offset 0x9"), "{error}");
        }
    }

    #[test]
    fn a_rescue_goes_on_and_never_back() {
        let (state, effects, noted) = obey(Mode::Rescue, &[Command::PostcopyRun, ADVISE]);
        assert_eq!(effects.unwrap().len(), 2);
        assert_eq!(noted.len(), 2);
        assert!(state.has_switched());
        assert!(!state.has_listened());
    }

    #[test]
    fn what_does_not_fit_the_machine_is_refused() {
        let advise = |page_sizes, target_page_size| {
            Command::PostcopyAdvise(PostcopyAdvise::Ram {
                page_sizes,
                target_page_size,
            })
        };
        for (commands, says) in [
            (vec![Command::Ping(1)], "with no return path"),
            (
                vec![advise(0x1000, 0x4000)],
                "matching target page sizes, 4096",
            ),
            (vec![advise(0x800, 0x1000)], "matching RAM page sizes"),
            (
                vec![ADVISE, discard("vga", 0, 0x1000)],
                "failed to find block 'vga'",
            ),
            (
                vec![ADVISE, discard("pc.ram", 0x800, 0x1000)],
                "unaligned start address",
            ),
            (
                vec![ADVISE, discard("pc.ram", 0x1000, 0x5000)],
                "within the block's length 0x4000",
            ),
            (
                vec![Command::RecvBitmap("vga".into())],
                "RECV_BITMAP of block 'vga'",
            ),
            (vec![Command::EnableColo], "COLO"),
        ] {
            let error = refusal(&commands);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_means_nothing_here_is_noted_also_in_a_strict_pass() {
        for (commands, says) in [
            (
                &[Command::PostcopyResume][..],
                "POSTCOPY_RESUME outside of a recovery",
            ),
            (
                &[Command::RecvBitmap("pc.ram".into())],
                "RECV_BITMAP outside of a recovery",
            ),
            (
                &[Command::OpenReturnPath, Command::OpenReturnPath],
                "is open already",
            ),
        ] {
            let (_, effects, noted) = obey(Mode::Strict, commands);
            assert!(effects.is_ok());
            assert!(
                matches!(&noted[..], [note] if note.contains(says)),
                "{noted:?}"
            );
        }
    }
}
