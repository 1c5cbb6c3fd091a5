//! One multifd channel, read packet by packet.

use super::payload::Payloads;
use crate::error::{Error, FormatError};
use crate::load::source::Source;
use crate::ram::PageSize;
use crate::wire::limits;
use crate::wire::multifd::{Init, Packet, Pages};

/// A channel whose first packet has been read.
pub(super) struct Channel<'a, S> {
    source: &'a mut S,
    pub(super) init: Init,
    payloads: Payloads,
    head: Option<Pages>,
    pub(super) packets: u64,
    pub(super) device_states: u64,
}

/// A packet with its payload.
pub(super) struct Batch<'a> {
    pub(super) packet: Pages,
    /// The normal pages, one after the other.
    pub(super) data: &'a [u8],
    /// Where in the channel the payload began.
    pub(super) offset: u64,
    /// Bytes that the payload took there.
    pub(super) bytes: u64,
}

impl<'a, S: Source> Channel<'a, S> {
    /// Reads the first packet of each.
    pub(super) fn open_all(sources: &'a mut [S]) -> Result<Vec<Self>, Error> {
        let channels = sources.len();
        let open = |source: &'a mut S| {
            let init = Init::decode(source)?;
            Ok(Self {
                source,
                init,
                payloads: Payloads::among(channels),
                head: None,
                packets: 0,
                device_states: 0,
            })
        };
        sources.iter_mut().map(open).collect()
    }

    /// An error that says which channel is meant.
    pub(super) fn name(&self, error: impl Into<Error>) -> Error {
        error
            .into()
            .in_section(&format!("multifd channel {}", self.init.id))
    }

    /// The next packet's head; `None` at the end of the channel.
    pub(super) fn peek(&mut self, page_size: PageSize) -> Result<Option<&Pages>, Error> {
        while self.head.is_none() {
            self.source.expect_end();
            if self.source.peek(1)?.is_empty() {
                return Ok(None);
            }
            match Packet::decode(self.source, page_size)? {
                Packet::Pages(pages) => self.head = Some(pages),
                // A device's own business, and it has no name for anything in it.
                Packet::DeviceState(state) => {
                    self.device_states = self.device_states.saturating_add(1);
                    self.skip(state.size)?;
                }
            }
            self.packets = self.packets.saturating_add(1);
        }
        Ok(self.head.as_ref())
    }

    /// The next packet with its payload; `None` at the end of the channel.
    pub(super) fn next(&mut self, page_size: PageSize) -> Result<Option<Batch<'_>>, Error> {
        self.peek(page_size)?;
        let Some(packet) = self.head.take() else {
            return Ok(None);
        };
        let offset = self.source.position();
        let data = self
            .payloads
            .read(self.source, &packet, page_size.bytes())?;
        let bytes = self.source.position().saturating_sub(offset);
        Ok(Some(Batch {
            packet,
            data,
            offset,
            bytes,
        }))
    }

    /// Where in the channel the next packet is.
    pub(super) fn position(&self) -> u64 {
        self.source.position()
    }

    fn skip(&mut self, len: u32) -> Result<(), Error> {
        const WHAT: &str = "a device's state in a multifd packet";
        let at = self.source.position();
        let limit = limits::DEVICE_STATE;
        let mut left = match usize::try_from(len) {
            Ok(len) if len <= limit => len,
            _ => return Err(FormatError::too_long(at, WHAT, len.into(), limit as u64).into()),
        };
        while left > 0 {
            let taken = self.source.take(left.min(limits::TAKE), WHAT)?.len();
            left = left.saturating_sub(taken);
        }
        Ok(())
    }
}
