//! The program's hooks as hooks of this library.

use vmferry::stream::{
    ErrorKind, HookedPage, LoadEvent, RamHooks, RamPhase, Result, SavePage, StreamError,
};

use super::channel::Shared;
use super::{In, Out};
use crate::channel::Event;
use crate::memory;
use crate::program::Hook;

/// The phase of a pass, by QEMU's number.
pub(super) fn phase(flags: u64) -> Option<RamPhase> {
    match flags {
        0 => Some(RamPhase::Setup),
        1 => Some(RamPhase::Round),
        3 => Some(RamPhase::Finish),
        _ => None,
    }
}

fn number(phase: RamPhase) -> u64 {
    match phase {
        RamPhase::Setup => 0,
        RamPhase::Round => 1,
        _ => 3,
    }
}

/// The hooks of the program.
pub(super) struct Scripted {
    pub(super) shared: Shared,
    /// Whether the caller wants to know what was sent.
    pub(super) asks: bool,
}

/// What the program's hook for pages answers, and what it says that it sent.
pub(super) fn scripted_page(shared: &Shared) -> (i64, u64) {
    let hooks = shared.world().hooks();
    let page = hooks.and_then(|hooks| hooks.save_page);
    page.map_or((-1000, 0), |(hook, bytes)| {
        (hook.answer.into(), bytes.into())
    })
}

fn answered(hook: Hook) -> Result<()> {
    match hook.answer {
        0.. => Ok(()),
        number => Err(StreamError::new(ErrorKind::Hook(-number), 0)),
    }
}

impl Scripted {
    fn iterate(&self, stream: &mut Out, event: Event, hook: Option<Hook>) -> Result<()> {
        let Some(hook) = hook else { return Ok(()) };
        self.shared.world().events.push(event);
        stream.put_bytes(memory::pool(7, hook.bytes.into()));
        answered(hook)
    }
}

impl RamHooks<Out> for Scripted {
    fn before_iterate(&mut self, stream: &mut Out, phase: RamPhase) -> Result<()> {
        let hook = self.shared.world().hooks().and_then(|hooks| hooks.before);
        self.iterate(stream, Event::Before(number(phase)), hook)
    }

    fn after_iterate(&mut self, stream: &mut Out, phase: RamPhase) -> Result<()> {
        let hook = self.shared.world().hooks().and_then(|hooks| hooks.after);
        self.iterate(stream, Event::After(number(phase)), hook)
    }

    fn save_page(&mut self, _: &mut Out, page: HookedPage) -> Result<SavePage> {
        if self
            .shared
            .world()
            .hooks()
            .is_none_or(|hooks| hooks.save_page.is_none())
        {
            return Ok(SavePage::NotSupported);
        }
        let event = Event::Page(page.block, page.offset, page.len, self.asks);
        self.shared.world().events.push(event);
        match scripted_page(&self.shared) {
            (-1000, _) => Ok(SavePage::NotSupported),
            (-2000, _) => Ok(SavePage::Delayed),
            (0.., bytes) => Ok(SavePage::Sent {
                bytes: if self.asks { bytes } else { 0 },
            }),
            (answer, _) => {
                let number = i32::try_from(-answer).unwrap_or(libc::EIO);
                Err(StreamError::new(ErrorKind::Hook(number), 0))
            }
        }
    }
}

impl RamHooks<In> for Scripted {
    fn load(&mut self, stream: &mut In, event: LoadEvent<'_>) -> Result<bool> {
        let Some(hook) = self.shared.world().hooks().and_then(|hooks| hooks.load) else {
            return Ok(false);
        };
        let flags = match event {
            LoadEvent::Hook => 2,
            _ => 4,
        };
        self.shared.world().events.push(Event::Loaded(flags));
        for _ in 0..hook.bytes {
            let byte = stream.lenient().get_u8();
            self.shared.world().events.push(Event::Took(byte));
        }
        answered(hook).map(|()| true)
    }
}
