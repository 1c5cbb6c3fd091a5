//! A stream that was read in one pass, as far as it goes.

use anyhow::{Result, anyhow};
use serde::Serialize;
use vmferry::container::{Container, Findings, OpenedChannel, read_out};
use vmferry::error::{Error, FormatError, FormatErrorKind};
use vmferry::load::{
    ChannelName, Channels, LoadError, Mode, Options, OtherSections, Summary, VmDescRule,
    load_channels,
};
use vmferry::ram::BlockIndex;
use vmferry::wire::header;

use super::scan::Scan;
use crate::place::Stream;

/// A stream that was read.
pub struct Scanned<'p> {
    /// What it was wrapped in.
    pub container: Container,
    /// What was in it, as far as it goes.
    pub scan: Scan<'p>,
    /// The channels that were recorded beside this one.
    pub channels: Vec<Channel>,
    /// What is wrong with what it was wrapped in, and what was passed over there.
    pub findings: Findings,
    /// Whether that is all of it.
    pub outcome: Result<Summary, Error>,
}

/// A channel that was recorded beside the main one.
#[derive(Debug, Clone, Serialize)]
pub struct Channel {
    /// `multifd` or `preempt`.
    pub kind: &'static str,
    /// The id of a multifd channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u8>,
    /// So much of it was read.
    pub bytes: u64,
}

impl<'p> Scanned<'p> {
    /// Reads all that can be read of it, and notes what was assumed. Pages of a mapped-ram file are left
    /// unread.
    ///
    /// # Errors
    /// It does not even begin as a stream.
    pub(crate) fn rescue(stream: Stream, progress: &'p mut dyn FnMut(u64)) -> Result<Self> {
        let scan = Scan::new(progress).skip_mapped_pages();
        Self::of(stream, scan, Mode::Rescue)
    }

    /// Reads it to its end, or to where it is wrong, as QEMU would.
    ///
    /// # Errors
    /// It does not even begin as a stream.
    pub(crate) fn read(stream: Stream, progress: &'p mut dyn FnMut(u64)) -> Result<Self> {
        Self::of(stream, Scan::new(progress), Mode::Strict)
    }

    fn of(stream: Stream, mut scan: Scan<'p>, mode: Mode) -> Result<Self> {
        let options = Options {
            mode,
            other_sections: OtherSections::PassOver,
            vmdesc: VmDescRule::Optional,
            file_offset: stream.opened.file_offset,
            ..Options::default()
        };
        let Stream { opened, name, .. } = stream;
        let names: Vec<_> = opened.beside.iter().map(|beside| beside.name).collect();
        let findings = opened.findings.clone();
        let (container, mut channels, _) = opened.into_parts();
        let outcome = load_channels(&mut channels, &mut scan, &options);
        let outcome = outcome.map_err(|error| match error {
            LoadError::Read(error) => error,
            LoadError::Visitor(never) => match never {},
        });
        let outcome = outcome.and_then(|summary| {
            read_out(&mut channels, &findings)?;
            Ok(summary)
        });
        let is_bare = matches!(container, Container::Stream { .. });
        match outcome {
            // Where not even the header is one, there is nothing to describe.
            Err(Error::Format(error)) if is_bare && error.at < header::LEN as u64 => {
                let error = match names.is_empty() {
                    true => anyhow::Error::from(error).context("this is no migration stream"),
                    // Each may be sound: they were put together wrongly.
                    false => {
                        anyhow!("{error}").context("these are not the channels of one migration")
                    }
                };
                Err(error.context(format!("cannot look into {name}")))
            }
            outcome => Ok(Self {
                container,
                scan,
                channels: channels_beside(&names, &channels),
                findings,
                outcome,
            }),
        }
    }
}

impl Scanned<'_> {
    /// What is wrong with the stream, unless it only ends where what it is wrapped in is damaged.
    pub fn stream_error(&self) -> Option<&Error> {
        let error = self.outcome.as_ref().err()?;
        let is_cut = |error: &FormatError| matches!(error.kind, FormatErrorKind::Truncated { .. });
        let is_end = matches!(error, Error::Format(error) if is_cut(error));
        let is_explained = is_end && !self.findings.damages().is_empty();
        let nothing_came = matches!(error, Error::Format(error) if error.at == 0);
        let around = is_explained && (self.findings.is_compressed() || nothing_came);
        (!around).then_some(error)
    }

    /// Whether pages never came that other channels may have, which were not named: the devices came and no page with
    /// content, or the guest moved before its pages.
    pub fn may_lack_channels(&self) -> bool {
        let scan = &self.scan;
        let mut of_blocks = scan.blocks.iter();
        let empty = !scan.state.devices.is_empty() && of_blocks.all(|b| b.records == b.zero);
        let moved = (self.outcome.as_ref()).is_ok_and(|summary| summary.switched_to_postcopy);
        let mut blocks = (0..scan.blocks.len()).map(BlockIndex);
        self.channels.is_empty()
            && (empty || moved)
            && blocks.any(|block| scan.missing(block).is_some_and(|pages| pages > 0))
    }
}

fn channels_beside(names: &[ChannelName], read: &Channels<OpenedChannel>) -> Vec<Channel> {
    let ids = names.iter().filter_map(|name| match name {
        ChannelName::Multifd(id) => Some(*id),
        _ => None,
    });
    let mut multifd: Vec<_> = ids
        .zip(&read.multifd)
        .map(|(id, stream)| Channel {
            kind: "multifd",
            id: Some(id),
            bytes: stream.position(),
        })
        .collect();
    multifd.sort_unstable_by_key(|channel| channel.id);
    let preempt = read.preempt.as_ref().map(|stream| Channel {
        kind: "preempt",
        id: None,
        bytes: stream.position(),
    });
    multifd.into_iter().chain(preempt).collect()
}
