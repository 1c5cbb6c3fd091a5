//! Channels that were recorded: they wait for us.

use super::channel::Channel;
use super::{
    Destination, Numbers, SideChannels, check_after_the_last, check_set, check_uuid, ended_early,
};
use super::{in_channel, show};
use crate::error::Error;
use crate::load::source::Source;
use crate::load::{LoadError, Visitor};

/// All channels, each at its place. What comes next is the packet with the lowest number, which is the order
/// in which they were made.
pub(in crate::load) struct Recorded<'a, S> {
    channels: Vec<Channel<'a, S>>,
    numbers: Numbers,
}

impl<'a, S: Source> Recorded<'a, S> {
    /// Reads the first packet of each channel.
    pub(in crate::load) fn open(sources: &'a mut [S]) -> Result<Self, Error> {
        let channels = Channel::open_all(sources)?;
        check_set(channels.iter().map(|channel| &channel.init))?;
        Ok(Self {
            channels,
            numbers: Numbers::default(),
        })
    }
}

impl<S: Source, V: Visitor> SideChannels<V> for Recorded<'_, S> {
    fn any(&self) -> bool {
        !self.channels.is_empty()
    }

    fn belongs_to(&mut self, uuid: Option<[u8; 16]>) -> Result<(), Error> {
        self.channels
            .iter()
            .try_for_each(|channel| check_uuid(&channel.init, uuid).map_err(|e| channel.name(e)))
    }

    fn meet(&mut self, mut destination: Destination<'_, V>) -> Result<(), LoadError<V::Error>> {
        let mut there = vec![false; self.channels.len()];
        loop {
            let mut next: Option<(u64, usize)> = None;
            for (index, channel) in self.channels.iter_mut().enumerate() {
                if there[index] {
                    continue;
                }
                let number = match channel.peek(destination.page_size) {
                    Ok(Some(packet)) => packet.number,
                    Ok(None) => return Err(channel.name(ended_early(channel.position())).into()),
                    Err(error) => return Err(channel.name(error).into()),
                };
                if next.is_none_or(|(lowest, _)| number < lowest) {
                    next = Some((number, index));
                }
            }
            let Some((_, index)) = next else {
                return Ok(());
            };
            let channel = &mut self.channels[index];
            let init = channel.init;
            let batch = match channel.next(destination.page_size) {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(()), // it was peeked at
                Err(error) => return Err(in_channel(init, error.into())),
            };
            self.numbers.count(&batch.packet);
            show(&batch, init, &mut destination).map_err(|error| in_channel(init, error))?;
            there[index] = batch.packet.sync;
        }
    }

    fn end(&mut self, destination: Destination<'_, V>) -> Result<(), LoadError<V::Error>> {
        let mut device_states = 0;
        for channel in &mut self.channels {
            let init = channel.init;
            let name = |error| in_channel(init, LoadError::Read(error));
            while let Some(batch) = channel.next(destination.page_size).map_err(name)? {
                self.numbers.count(&batch.packet);
                check_after_the_last(&batch).map_err(name)?;
            }
            device_states += channel.device_states;
        }
        Ok(self.numbers.check(device_states)?)
    }
}
