//! Writing a machine through several channels at once: the main one, and those with pages in packets.
//!
//! The destination must have as many channels, and the same method. What else it must agree with, the
//! machine type decides ([`Rules`]).

use std::ops::ControlFlow;

use super::lanes::with_lanes;
use super::stream_writer::{StreamWriter, unknown_rules};
use super::{MultifdOptions, Outgoing, SaveError};
use crate::error::{Error, FormatError};
use crate::machine::{MachineState, Phase, Rules};
use crate::progress::Progress;
use crate::ram::PageSource;
use crate::stream::AbortHandle;

/// Writes a whole stream for a plain `-incoming` with capability `multifd`, as [`precopy`](super::precopy) does,
/// with pages in as many other channels as there are `channels`, which connect after the main one.
///
/// A thread writes each of them. `abort` has to end all channels: it is used, once at most, when something has failed and
/// the threads may be waiting. [The default](AbortHandle::default) does for channels that never block.
///
/// # Errors
/// As for [`precopy`](super::precopy); and nothing is written if there is no other channel, or the machine
/// type does not tell how they meet and the options do not either.
pub fn multifd<K, W, P>(
    main: &mut K,
    channels: &mut [W],
    (state, source): (&MachineState, &P),
    options: &MultifdOptions,
    abort: &AbortHandle,
    progress: &Progress,
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
    with_multifd(
        main,
        channels,
        options,
        abort,
        SaveError::Send,
        |mut writer| {
            send_all(&mut writer, state, source, progress)?;
            writer.finish().map_err(SaveError::Send)
        },
    )
}

/// Runs `body` with a writer that spreads its pages over `channels`. All of them have been written when this returns
/// `Ok`. `failed` makes an error of one that a channel had.
pub(crate) fn with_multifd<K, W, T, E>(
    main: &mut K,
    channels: &mut [W],
    options: &MultifdOptions,
    abort: &AbortHandle,
    failed: impl Fn(Error) -> E,
    body: impl FnOnce(StreamWriter<'_, K>) -> Result<T, E>,
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
    with_lanes(channels, options, abort, failed, |lanes| {
        body(StreamWriter::through(main, lanes, options.rules))
    })
}

fn send_all<K: Outgoing, P: PageSource>(
    writer: &mut StreamWriter<'_, K>,
    state: &MachineState,
    source: &P,
    progress: &Progress,
) -> Result<(), SaveError<P::Error>> {
    /// Pages after which progress is reported.
    const STEP: u64 = 4096;
    writer.begin(state, source).map_err(SaveError::Send)?;
    let mut sent = Ok(());
    let mut count = 0;
    source
        .pages(&|_, _| true, &mut |block, page, content| {
            sent = writer.put_page(block, page, content);
            count += 1;
            if count == STEP {
                progress.add_sent(std::mem::take(&mut count));
            }
            match sent {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })
        .map_err(SaveError::Page)?;
    progress.add_sent(count);
    sent.map_err(SaveError::Send)?;
    state
        .devices_of(Phase::Device)
        .try_for_each(|device| writer.put_device(device.phase(), device.element()))
        .map_err(SaveError::Send)?;
    if let Some(json) = &state.vmdesc {
        writer.put_vmdesc(json);
    }
    Ok(())
}
