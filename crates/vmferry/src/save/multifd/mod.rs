//! Writing a machine through several channels at once: the main one, and those with pages in packets.
//!
//! The destination must have as many channels, and the same method. What else it must agree with, the
//! machine type decides ([`Rules`]).

mod lanes;
mod payload;

pub(super) use lanes::{Lanes, with_lanes};

use std::ops::ControlFlow;

use super::{Forward, MachineState, Outgoing, Rules, SaveError};
use crate::error::{Error, FormatError};
use crate::load::{Phase, Visitor};
use crate::ram::PageSource;
use crate::wire::multifd::Method;

/// How the channels are written.
#[derive(Debug, Clone, Default)]
pub struct MultifdOptions {
    /// How pages are compressed: not at all, with zlib or with zstd.
    pub method: Method,
    /// The level of compression: 0 to 9 for zlib, 0 to 20 for zstd; 1 where nothing is said, as with QEMU.
    pub level: Option<u8>,
    /// The machine's `-uuid`, or zeros, if it has none: the destination compares it.
    pub uuid: [u8; 16],
    /// What holds for a machine type that does not tell it by its name.
    pub rules: Option<Rules>,
}

impl MultifdOptions {
    /// With this method, and whatever QEMU does by itself.
    pub fn new(method: Method) -> Self {
        Self {
            method,
            ..Self::default()
        }
    }
}

/// Writes a whole stream for a plain `-incoming` with capability `multifd`, as [`precopy`](super::precopy) does,
/// with pages in as many other channels as there are `channels`, which connect behind the main one.
///
/// A thread writes each of them; `abort` must make blocked writes return, and is called at most once, when
/// something has failed and the threads may be waiting.
///
/// # Errors
/// As for [`precopy`](super::precopy); and nothing is written if there is no other channel, or the machine
/// type does not tell how they meet and the options do not either.
pub fn multifd<K, W, P>(
    main: &mut K,
    channels: &mut [W],
    (state, source): (&MachineState, &P),
    options: &MultifdOptions,
    abort: &(dyn Fn() + Sync),
    progress: &mut dyn FnMut(u64),
) -> Result<(), SaveError<P::Error>>
where
    K: Outgoing,
    W: Outgoing + Send,
    P: PageSource,
{
    if state.lacks_shared_memory() {
        return Err(SaveError::SharedMemoryLeftOut);
    }
    let machine = state.configuration.as_ref();
    let machine = machine.map_or("", |configuration| &configuration.machine);
    if options.rules.or_else(|| Rules::of(machine)).is_none() {
        return Err(SaveError::Send(unknown_rules(machine).into()));
    }
    forward_multifd(main, channels, options, abort, SaveError::Send, |forward| {
        send_all(forward, state, source, progress)
    })
}

/// Runs `body` with a visitor that sends what it is shown through several channels: a stream is loaded into
/// it while it comes. Behind `body`, the end of the stream is written. `failed` makes an error of one that a channel had.
///
/// # Errors
/// What `body` says, or that a channel could not be written.
pub fn forward_multifd<K, W, T, E>(
    main: &mut K,
    channels: &mut [W],
    options: &MultifdOptions,
    abort: &(dyn Fn() + Sync),
    failed: impl Fn(Error) -> E,
    body: impl FnOnce(&mut Forward<'_, K>) -> Result<T, E>,
) -> Result<T, E>
where
    K: Outgoing,
    W: Outgoing + Send,
{
    // The id of a channel is one byte, and so is QEMU's own parameter.
    if channels.is_empty() || channels.len() > 255 {
        let what = "the multifd channels of a stream";
        let found = channels.len();
        let error = FormatError::unexpected(0, what, "1 to 255 of them", found);
        return Err(failed(error.into()));
    }
    with_lanes(channels, options, abort, &failed, |lanes| {
        let mut forward = Forward::through(main, lanes, options.rules);
        let done = body(&mut forward)?;
        forward.finish().map_err(&failed)?;
        Ok(done)
    })
}

pub(super) fn unknown_rules(machine: &str) -> FormatError {
    let what = format!("multifd for machine type '{machine}', which does not tell its release,");
    FormatError::unsupported(0, what)
}

fn send_all<K: Outgoing, P: PageSource>(
    forward: &mut Forward<'_, K>,
    state: &MachineState,
    source: &P,
    progress: &mut dyn FnMut(u64),
) -> Result<(), SaveError<P::Error>> {
    /// Pages after which progress is told.
    const STEP: u64 = 4096;
    forward.begin(state, source).map_err(SaveError::Send)?;
    let mut sent = Ok(());
    let mut count = 0;
    source
        .pages(&|_, _| true, &mut |block, page, content| {
            sent = forward.put_page(block, page, content);
            count += 1;
            if count == STEP {
                progress(std::mem::take(&mut count));
            }
            match sent {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })
        .map_err(SaveError::Page)?;
    progress(count);
    sent.map_err(SaveError::Send)?;
    let devices = state.devices.iter();
    devices
        .filter(|device| device.phase() == Phase::Device)
        .try_for_each(|device| forward.put_device(device.phase(), device.element()))
        .and_then(|()| {
            state
                .vmdesc
                .iter()
                .try_for_each(|json| forward.vmdesc(json))
        })
        .map_err(SaveError::Send)
}
