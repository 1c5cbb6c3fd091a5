//! Channels that are sent at this moment.
//!
//! Their sender waits where one of them is not read, so each is read by a thread of its own, which shows pages as
//! soon as all channels have come to the meeting point before them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::channel::{Batch, Channel};
use super::{
    Destination, Numbers, SideChannels, check_after_the_last, check_set, check_uuid, ended_early,
};
use super::{in_channel, show};
use crate::error::{Error, FormatError};
use crate::load::source::Source;
use crate::load::{
    Assumption, Bitmap, Element, LoadError, MappedPages, Origin, PageCounts, Summary, Visitor,
};
use crate::machine::{Configuration, DeviceSection};
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use crate::stream::AbortHandle;
use crate::wire::dirty_bitmap::Content;
use crate::wire::multifd::Init;

/// Reads the main channel with `read` while a thread reads each of the others. What `read` is given is the visitor,
/// which the threads share, and the other channels.
///
/// # Errors
/// The first thing that went wrong on any channel.
pub(in crate::load) fn while_live<S, V>(
    sources: &mut [S],
    visitor: &mut V,
    abort: &AbortHandle,
    read: impl for<'s, 'a> FnOnce(
        &mut Locked<'s, 'a, V>,
        &mut Threads<'s, 'a, V>,
    ) -> Result<Summary, LoadError<V::Error>>,
) -> Result<Summary, LoadError<V::Error>>
where
    S: Source + Send,
    V: Visitor<Error: Send> + Send,
{
    let opened = Channel::open_all(sources)?;
    let inits: Vec<_> = opened.iter().map(|channel| channel.init).collect();
    check_set(inits.iter())?;
    let shared = Shared {
        state: Mutex::new(State::new(visitor, &inits)),
        changed: Condvar::new(),
        abort,
    };
    thread::scope(|scope| {
        for (index, channel) in opened.into_iter().enumerate() {
            let shared = &shared;
            scope.spawn(move || shared.read(index, channel));
        }
        let mut threads = Threads {
            shared: &shared,
            inits: &inits,
        };
        let read = read(&mut Locked(&shared), &mut threads);
        shared.main_ended(read)
    })
}

/// What the threads share.
struct Shared<'a, V: Visitor> {
    state: Mutex<State<'a, V>>,
    changed: Condvar,
    abort: &'a AbortHandle,
}

struct State<'a, V: Visitor> {
    visitor: &'a mut V,
    /// Known as soon as the main channel has listed them.
    blocks: Option<(RamBlocks, PageSize)>,
    /// Meeting points that all channels have come to, and gone on from.
    passed: u64,
    /// Meeting points that each channel has come to.
    reached: Vec<Reached>,
    /// Pages were shown since then.
    unconfirmed: bool,
    /// The main channel has come to its end.
    over: bool,
    failure: Option<LoadError<V::Error>>,
    numbers: Numbers,
    device_states: u64,
    /// The pages that were shown and are not counted in the main channel's pass yet.
    pages: PageCounts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    points: u64,
    ended: Option<u64>,
}

impl<'a, V: Visitor> State<'a, V> {
    fn new(visitor: &'a mut V, inits: &[Init]) -> Self {
        Self {
            visitor,
            blocks: None,
            passed: 0,
            unconfirmed: false,
            reached: vec![Reached::default(); inits.len()],
            over: false,
            failure: None,
            numbers: Numbers::default(),
            device_states: 0,
            pages: PageCounts::default(),
        }
    }
}

/// Something has failed elsewhere, and is reported there.
struct Stopped;

impl<'a, V: Visitor> Shared<'a, V> {
    fn lock(&self) -> MutexGuard<'_, State<'a, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State<'a, V>>) -> MutexGuard<'g, State<'a, V>> {
        let state = self.changed.wait(state);
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, mut state: MutexGuard<'_, State<'a, V>>, error: LoadError<V::Error>) {
        let first = state.failure.is_none();
        state.failure.get_or_insert(error);
        drop(state);
        self.changed.notify_all();
        if first {
            // A channel that cannot be shut down ends at its next call.
            let _ = self.abort.abort();
        }
    }

    /// Reads a channel to its end, in a thread of its own.
    fn read<S: Source>(&self, index: usize, mut channel: Channel<'_, S>) {
        // Whatever becomes of this thread, the others do not wait for it.
        let _leaving = Leaving {
            shared: self,
            index,
        };
        let init = channel.init;
        let Ok(page_size) = self.page_size() else {
            return;
        };
        let mut points = 0;
        loop {
            match channel.next(page_size) {
                Ok(Some(batch)) => match self.take(index, init, &batch, &mut points) {
                    Ok(()) => {}
                    Err(Stopped) => return,
                },
                Ok(None) => {
                    let mut state = self.lock();
                    state.device_states += channel.device_states;
                    state.reached[index].ended = Some(channel.position());
                    return;
                }
                Err(error) => return self.fail(self.lock(), in_channel(init, error.into())),
            }
        }
    }

    /// Waits until the main channel has listed the blocks: pages mean nothing before.
    fn page_size(&self) -> Result<PageSize, Stopped> {
        let mut state = self.lock();
        loop {
            match &state.blocks {
                _ if state.failure.is_some() => return Err(Stopped),
                Some((_, page_size)) => return Ok(*page_size),
                // A machine without RAM has no pages.
                None if state.over => return Ok(PageSize::X86),
                None => state = self.wait(state),
            }
        }
    }

    /// Shows what a packet holds, as soon as it is time, and goes on to the next meeting point if it says so.
    fn take(
        &self,
        index: usize,
        init: Init,
        batch: &Batch<'_>,
        points: &mut u64,
    ) -> Result<(), Stopped> {
        let mut state = self.lock();
        while !batch.packet.is_empty()
            && state.passed < *points
            && !state.over
            && state.failure.is_none()
        {
            state = self.wait(state);
        }
        if state.failure.is_some() {
            return Err(Stopped);
        }
        let here = &mut *state;
        here.numbers.count(&batch.packet);
        let shown = match (&here.blocks, here.over) {
            (Some((blocks, page_size)), false) => {
                let mut destination = Destination {
                    visitor: here.visitor,
                    blocks,
                    page_size: *page_size,
                    pages: &mut here.pages,
                };
                here.unconfirmed |= !batch.packet.is_empty();
                show(batch, init, &mut destination)
            }
            _ => check_after_the_last(batch).map_err(LoadError::Read),
        };
        if let Err(error) = shown {
            self.fail(state, in_channel(init, error));
            return Err(Stopped);
        }
        if batch.packet.sync {
            *points += 1;
            state.reached[index].points = *points;
            drop(state);
            self.changed.notify_all();
        }
        Ok(())
    }

    /// The pass over the main channel is through, well or not: so is everything.
    fn main_ended(
        &self,
        read: Result<Summary, LoadError<V::Error>>,
    ) -> Result<Summary, LoadError<V::Error>> {
        let mut state = self.lock();
        if let Some(first) = state.failure.take() {
            // The others look at this once they have been woken.
            state.failure = Some(LoadError::Read(Error::Closed));
            return Err(first);
        }
        match read {
            Ok(summary) => Ok(summary),
            Err(error) => {
                self.fail(state, LoadError::Read(Error::Closed));
                Err(error)
            }
        }
    }
}

/// The main channel's view of the others.
pub(in crate::load) struct Threads<'s, 'a, V: Visitor> {
    shared: &'s Shared<'a, V>,
    inits: &'s [Init],
}

impl<'a, V: Visitor> SideChannels<Locked<'_, 'a, V>> for Threads<'_, 'a, V> {
    fn any(&self) -> bool {
        !self.inits.is_empty()
    }

    fn belongs_to(&mut self, uuid: Option<[u8; 16]>) -> Result<(), Error> {
        let mut inits = self.inits.iter();
        inits.try_for_each(|init| check_uuid(init, uuid))
    }

    fn meet(
        &mut self,
        destination: Destination<'_, Locked<'_, 'a, V>>,
    ) -> Result<(), LoadError<V::Error>> {
        let mut state = self.shared.lock();
        let target = state.passed + 1;
        loop {
            if state.failure.is_some() {
                return Err(Error::Closed.into());
            }
            let mut channels = state.reached.iter().zip(self.inits);
            let Some((late, init)) = channels.find(|(reached, _)| reached.points < target) else {
                break;
            };
            if let Some(at) = late.ended {
                return Err(in_channel(*init, ended_early(at).into()));
            }
            state = self.shared.wait(state);
        }
        state.passed = target;
        state.unconfirmed = false;
        *destination.pages += std::mem::take(&mut state.pages);
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn end(
        &mut self,
        destination: Destination<'_, Locked<'_, 'a, V>>,
    ) -> Result<(), LoadError<V::Error>> {
        let mut state = self.shared.lock();
        state.over = true;
        self.shared.changed.notify_all();
        while state.failure.is_none() && state.reached.iter().any(|r| r.ended.is_none()) {
            state = self.shared.wait(state);
        }
        if state.failure.is_some() {
            return Err(Error::Closed.into());
        }
        *destination.pages += std::mem::take(&mut state.pages);
        if state.unconfirmed {
            let what = "the end of the multifd channels";
            let expected = "no pages behind the last meeting point";
            return Err(Error::from(FormatError::unexpected(0, what, expected, "some")).into());
        }
        Ok(state.numbers.check(state.device_states)?)
    }
}

/// Whatever becomes of a thread, the others must not wait for it.
struct Leaving<'s, 'a, V: Visitor> {
    shared: &'s Shared<'a, V>,
    index: usize,
}

impl<V: Visitor> Drop for Leaving<'_, '_, V> {
    fn drop(&mut self) {
        self.shared.lock().reached[self.index]
            .ended
            .get_or_insert(0);
        self.shared.changed.notify_all();
    }
}

/// The visitor, for one thread at a time.
pub(in crate::load) struct Locked<'s, 'a, V: Visitor>(&'s Shared<'a, V>);

#[deny(clippy::missing_trait_methods)]
impl<V: Visitor> Visitor for Locked<'_, '_, V> {
    type Error = V::Error;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), V::Error> {
        self.0.lock().visitor.configuration(configuration)
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), V::Error> {
        let mut state = self.0.lock();
        state.visitor.ram_blocks(blocks, page_size)?;
        state.blocks = Some((blocks.clone(), page_size));
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        origin: Origin,
    ) -> Result<(), V::Error> {
        self.0.lock().visitor.page(block, page, content, origin)
    }

    fn mapped_block(
        &mut self,
        block: BlockIndex,
        bitmap: &Bitmap,
        offset: u64,
    ) -> Result<MappedPages, V::Error> {
        self.0.lock().visitor.mapped_block(block, bitmap, offset)
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        origin: Origin,
    ) -> Result<(), V::Error> {
        let mut state = self.0.lock();
        state.visitor.differences(block, page, differences, origin)
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), V::Error> {
        self.0.lock().visitor.device(section)
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), V::Error> {
        self.0.lock().visitor.vmdesc(json)
    }

    fn dirty_bitmap(
        &mut self,
        node: &str,
        bitmap: &str,
        content: &Content,
    ) -> Result<(), V::Error> {
        self.0.lock().visitor.dirty_bitmap(node, bitmap, content)
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), V::Error> {
        self.0.lock().visitor.element(element)
    }

    fn assumption(&mut self, assumption: &Assumption) -> Result<(), V::Error> {
        self.0.lock().visitor.assumption(assumption)
    }
}
