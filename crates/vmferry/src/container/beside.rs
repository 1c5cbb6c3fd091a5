//! The other channels of a machine that came through several, each recorded in a file of its own.

use std::fs::File;
use std::sync::Arc;

use super::{ContainerError, Opened, ReadAt, open};
use crate::channel::ReadChannel;
use crate::load::{ChannelName, Channels};
use crate::stream::Reader;
use crate::wire::SliceSource;
use crate::wire::multifd::{self, Init};

/// A recorded channel that was opened.
pub struct Beside {
    /// Which one it is.
    pub name: ChannelName,
    /// Its bytes, from the first one on.
    pub stream: Reader<Box<dyn ReadChannel + Send>>,
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
        let Opened { stream, place, .. } = open(file, 0)?;
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
    /// Adds the other recorded channels of the same machine, in any order.
    ///
    /// # Errors
    /// As for [`Beside::open`]; or there is more than one channel of requested pages.
    pub fn with_channels(
        mut self,
        files: impl IntoIterator<Item = File>,
    ) -> Result<Self, ContainerError> {
        for file in files {
            let channel = Beside::open(file)?;
            let mut others = self.beside.iter();
            if channel.name == ChannelName::Preempt && others.any(|c| c.name == channel.name) {
                return Err(ContainerError::NotMultifd);
            }
            self.beside.push(channel);
        }
        Ok(self)
    }

    /// All channels, for [`load_channels`](crate::load::load_channels), and where the bytes of each can be
    /// read again.
    #[allow(clippy::type_complexity)]
    pub fn into_channels(
        self,
    ) -> (
        Channels<Reader<Box<dyn ReadChannel + Send>>>,
        Vec<(ChannelName, Arc<dyn ReadAt>)>,
    ) {
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
        (channels, places)
    }
}
