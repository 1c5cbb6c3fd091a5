//! What was read of a saved state.

use std::fmt;

use anyhow::Result;
use vmferry::error::{Damage, Error};
use vmferry::load::{Assumption, Summary};
use vmferry::machine::MachineState;
use vmferry::ram::{BlockIndex, PageSize, PageSource, RamBlocks};
use vmferry_store::{Checkpoint, Manifest};

use super::block::{Block, Encoded};
use crate::devices_alone::{DEVICES_ALONE, is_devices_alone};
use crate::exit;
use crate::place::Target;
use crate::ui;
use crate::view::container::Wrapping;
use crate::view::layout::{self, Placed};
use crate::view::listing::Listing;

use crate::view::scan::{SectionPlace, encoding_name};
use crate::view::scanned::{Channel, Scanned};

/// A saved state, without its pages.
pub(super) struct Contents {
    pub(super) kind: Kind,
    pub(super) state: MachineState,
    /// Where each device section was, in the order of `state.devices`.
    pub(super) places: Vec<SectionPlace>,
    pub(super) page_size: PageSize,
    pub(super) blocks: Vec<Block>,
    /// Where the memory lies, and what was taken for granted; or why that is not known.
    pub(super) layout: Result<(Vec<Placed>, Vec<String>), String>,
    /// What was passed over, as QEMU passes over it.
    pub(super) notes: Vec<String>,
    /// Whether there may be more in other channels.
    pub(super) may_lack_channels: bool,
    /// Why there is no more.
    pub(super) trouble: Option<Trouble>,
}

pub(super) enum Kind {
    Stream {
        container: Box<Wrapping>,
        channels: Vec<Channel>,
        summary: Option<Box<Summary>>,
        listing: Listing,
    },
    Checkpoint(Box<Manifest>),
}

/// Why a stream was not read to its end.
pub(super) enum Trouble {
    /// It is wrong.
    Damaged(String),
    /// It could not be read.
    Unreadable(String),
}

impl Trouble {
    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::Damaged(_) => exit::DAMAGED,
            Self::Unreadable(_) => exit::COULD_NOT,
        }
    }
}

impl Trouble {
    /// What had to be assumed means that the stream is not what QEMU would take.
    fn of(harm: &[&Assumption], more: u64) -> Option<Self> {
        let first = harm.first()?.to_string();
        let more = more + harm.len() as u64 - 1;
        Some(Self::Damaged(match more {
            0 => first,
            more => format!("{first}; and {more} more like this"),
        }))
    }
}

impl Trouble {
    /// Adds what is wrong around the stream, which comes first; and says what offsets are in.
    fn around(damages: &[Damage], within: Option<Self>, decompressed: bool) -> Option<Self> {
        let within = within.map(|trouble| match trouble {
            Self::Damaged(text) if decompressed && text.contains("at offset") => {
                Self::Damaged(format!("{text} of the decompressed data"))
            }
            trouble => trouble,
        });
        if damages.is_empty() {
            return within;
        }
        let damages = damages.iter().map(ToString::to_string);
        let all: Vec<_> = damages
            .chain(within.map(|trouble| trouble.to_string()))
            .collect();
        Some(Self::Damaged(all.join("; ")))
    }
}

fn lay_out(
    state: &MachineState,
    blocks: &RamBlocks,
    page_size: PageSize,
) -> Result<(Vec<Placed>, Vec<String>), String> {
    let layout = layout::layout(state, blocks, page_size)?;
    Ok((layout::placed(&layout, blocks), layout.assumptions))
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let damaged = error.is_damage();
        let text = ui::chain(&anyhow::Error::from(error));
        if damaged {
            Self::Damaged(text)
        } else {
            Self::Unreadable(text)
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(text) | Self::Unreadable(text) => f.write_str(text),
        }
    }
}

impl Contents {
    /// Reads all of it.
    pub(super) fn read(target: Target, progress: &mut dyn FnMut(u64)) -> Result<Self> {
        match target {
            Target::Stream(stream) => Ok(Self::of_stream(Scanned::rescue(*stream, progress)?)),
            Target::Checkpoint(checkpoint) => Self::of_checkpoint(&checkpoint),
        }
    }

    fn of_stream(scanned: Scanned<'_>) -> Self {
        let may_lack_channels = scanned.may_lack_channels();
        let is_explained = scanned.stream_error().is_none();
        let scan = scanned.scan;
        let blocks = scan.blocks.iter().enumerate().map(|(at, block)| {
            let distinct = scan.distinct(BlockIndex(at));
            let encodings = block.encodings.iter().map(|(encoding, share)| Encoded {
                encoding: encoding_name(*encoding),
                pages: share.records,
                bytes: share.bytes,
            });
            Block {
                idstr: block.idstr.clone(),
                used_length: block.used_length,
                pages: block.records,
                zero_pages: block.zero,
                data_pages: block.records - block.zero,
                repeated_pages: distinct.map(|distinct| block.records - distinct),
                unsent_pages: scan.missing(BlockIndex(at)),
                encodings: encodings.collect(),
            }
        });
        let blocks = blocks.collect();
        let assumptions = scan.assumptions.0.iter();
        let (harm, harmless): (Vec<_>, Vec<_>) = assumptions.partition(|one| one.kind.is_damage());
        let (summary, trouble) = match scanned.outcome {
            Ok(summary) => (
                Some(Box::new(summary)),
                Trouble::of(&harm, scan.assumptions.1),
            ),
            Err(_) if is_explained => (None, None),
            Err(error) => (None, Some(error.into())),
        };
        let around = scanned.findings.damages();
        let trouble = Trouble::around(&around, trouble, scanned.container.is_compressed());
        let mut notes = scanned.findings.notes();
        if is_devices_alone(&scan.state, &scan.table) {
            notes.push(DEVICES_ALONE.to_owned());
        }
        notes.extend(harmless.iter().map(ToString::to_string));
        Self {
            layout: lay_out(&scan.state, &scan.table, scan.page_size),
            notes,
            kind: Kind::Stream {
                container: Box::new(Wrapping::of(&scanned.container)),
                channels: scanned.channels,
                summary,
                listing: scan.listing,
            },
            state: scan.state,
            places: scan.places,
            page_size: scan.page_size,
            blocks,
            may_lack_channels,
            trouble,
        }
    }

    fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Self> {
        let manifest = checkpoint.manifest();
        let stored = checkpoint.device_state()?;
        let places = stored.devices().map(|section| SectionPlace {
            offset: section.offset,
            split: section.split,
        });
        let blocks = manifest.ram.blocks.iter().map(|block| Block {
            idstr: block.idstr.clone(),
            used_length: block.used_length,
            pages: block.pages.data + block.pages.zero,
            zero_pages: block.pages.zero,
            data_pages: block.pages.data,
            repeated_pages: None,
            unsent_pages: Some(block.pages.absent),
            encodings: Vec::new(),
        });
        let (state, page_size) = (stored.to_machine_state(), checkpoint.page_size());
        Ok(Self {
            layout: lay_out(&state, checkpoint.blocks(), page_size),
            notes: Vec::new(),
            places: places.collect(),
            state,
            page_size,
            blocks: blocks.collect(),
            kind: Kind::Checkpoint(Box::new(manifest.clone())),
            may_lack_channels: false,
            trouble: None,
        })
    }
}
