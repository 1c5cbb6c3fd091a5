//! The other channels of a machine that came through several, each recorded in a file of its own.

use std::fs::File;
use std::io::BufRead;
use std::sync::Arc;

use super::open::{Naming, file_of};
use super::{Container, ContainerError, Findings, Opened, ReadAt, Wanted};
use crate::channel::ReadChannel;
use crate::error::Error;
use crate::load::{ChannelName, Channels, Mode};
use crate::stream::Reader;
use crate::wire::SliceSource;
use crate::wire::multifd::{self, Init};

/// A channel that was opened, from its first byte on.
pub type OpenedChannel = Reader<Box<dyn ReadChannel + Send>>;

/// Where the bytes of channels can be read again, by the channels' names.
pub type Places = Vec<(ChannelName, Arc<dyn ReadAt>)>;

/// A recorded channel that was opened.
pub struct Beside {
    /// Which one it is.
    pub name: ChannelName,
    /// Its bytes, from the first one on.
    pub stream: OpenedChannel,
    /// The same by their offset, where they can be read again.
    pub place: Option<Arc<dyn ReadAt>>,
}

impl Beside {
    /// Opens a recorded channel, which may be compressed as any stream may be, and tells what it is: a multifd
    /// channel says so, one of requested pages (`postcopy-preempt`) begins with its first page.
    ///
    /// # Errors
    /// It cannot be read, or begins as a multifd channel and does not go on so.
    pub fn open(file: File) -> Result<Self, ContainerError> {
        Self::open_in(file, Mode::Strict, Findings::default())
    }

    fn open_in(file: File, mode: Mode, findings: Findings) -> Result<Self, ContainerError> {
        let wanted = Wanted {
            mode,
            ..Wanted::default()
        };
        let Opened { stream, place, .. } = file_of(file, &wanted, Naming::Nothing, findings)?;
        let mut stream = Reader::new(stream);
        let head = stream.peek_up_to(Init::LEN)?;
        let name = if head.starts_with(&multifd::MAGIC.to_be_bytes()) {
            ChannelName::Multifd(Init::decode(&mut SliceSource::new(head))?.id)
        } else {
            ChannelName::Preempt
        };
        Ok(Self {
            name,
            stream,
            place,
        })
    }
}

impl Opened {
    /// Adds another recorded channel of the same machine. Their order does not matter.
    ///
    /// # Errors
    /// As for [`Beside::open`]; or it is a second channel of requested pages.
    pub fn add_channel(&mut self, file: File) -> Result<(), ContainerError> {
        let channel = Beside::open_in(file, self.mode, self.findings.clone())?;
        let mut others = self.beside.iter();
        if channel.name == ChannelName::Preempt && others.any(|c| c.name == channel.name) {
            return Err(ContainerError::NotMultifd);
        }
        self.beside.push(channel);
        Ok(())
    }

    /// What it is; all channels, for [`load_channels`](crate::load::load_channels); and where the bytes of each
    /// can be read again.
    pub fn into_parts(self) -> (Container, Channels<OpenedChannel>, Places) {
        let mut channels = Channels::new(Reader::new(self.stream));
        let main = self.place.map(|place| (ChannelName::Main, place));
        let mut places: Vec<_> = main.into_iter().collect();
        for Beside {
            name,
            stream,
            place,
        } in self.beside
        {
            places.extend(place.map(|place| (name, place)));
            match name {
                ChannelName::Preempt => channels.preempt = Some(stream),
                _ => channels.multifd.push(stream),
            }
        }
        (self.container, channels, places)
    }
}

/// Reads what comes after the ends of all streams, where any is compressed: whether compressed data is whole, and what
/// follows it, shows only at its end.
///
/// # Errors
/// The data is damaged, or cannot be read.
pub fn read_out(channels: &mut Channels<OpenedChannel>, findings: &Findings) -> Result<(), Error> {
    if !findings.is_compressed() {
        return Ok(());
    }
    let Channels {
        main,
        preempt,
        multifd,
    } = channels;
    for channel in [main].into_iter().chain(preempt).chain(multifd) {
        loop {
            let there = channel.peek_up_to(1)?.len();
            let there = there.max(channel.buffered().len());
            if there == 0 {
                break;
            }
            channel.consume(there);
        }
    }
    Ok(())
}
