//! What there is to say of a saved state: `docs/json.md` describes it.

use serde::Serialize;
use vmferry::machine::{Phase, Split};
use vmferry::wire::configuration::MAPPED_RAM;
use vmferry_store::Manifest;

use super::block::Block;
use super::contents::{Contents, Kind};
use crate::ui;
use crate::view::container::Wrapping;
use crate::view::layout::Placed;
use crate::view::listing::Listed;
use crate::view::scanned::Channel;

/// What there is to say, of a stream or of a checkpoint.
#[derive(Debug, Serialize)]
pub(super) struct Findings<'a> {
    schema: u32,
    pub(super) what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<&'a Wrapping>,
    pub(super) machine: Option<&'a str>,
    pub(super) capabilities: &'a [String],
    /// How its memory was sent.
    pub(super) mode: Option<&'static str>,
    /// Whether all of it is there.
    pub(super) whole: bool,
    pub(super) run_state: Option<String>,
    pub(super) page_size: u64,
    pub(super) blocks: &'a [Block],
    /// Where the memory lies in the machine's address space.
    pub(super) layout: &'a [Placed],
    pub(super) layout_assumptions: &'a [String],
    /// Why that is not known.
    pub(super) layout_error: Option<&'a str>,
    /// The devices.
    pub(super) sections: Vec<Section<'a>>,
    /// All elements of a stream in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) elements: Option<&'a [Listed]>,
    pub(super) more_elements: u64,
    pub(super) vmdesc_bytes: Option<u64>,
    pub(super) stream_bytes: Option<u64>,
    /// Those that were recorded beside this one.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) channels: &'a [Channel],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) manifest: Option<&'a Manifest>,
    /// What was passed over, as QEMU passes over it.
    pub(super) notes: &'a [String],
    /// Where a stream is wrong.
    error: Option<String>,
}

/// A device section.
#[derive(Debug, Serialize)]
pub(super) struct Section<'a> {
    pub(super) idstr: &'a str,
    pub(super) instance_id: u32,
    pub(super) version_id: u32,
    pub(super) section_id: u32,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) early: bool,
    /// Whether its end is a guess, because the stream has no description of it.
    pub(super) guessed: bool,
}

impl Contents {
    /// What there is to say of it.
    pub(super) fn findings(&self) -> Findings<'_> {
        let configuration = self.state.configuration.as_ref();
        let (container, manifest) = match &self.kind {
            Kind::Stream { container, .. } => (Some(&**container), None),
            Kind::Checkpoint(manifest) => (None, Some(&**manifest)),
        };
        let listing = match &self.kind {
            Kind::Stream { listing, .. } => Some(listing),
            Kind::Checkpoint(_) => None,
        };
        let run_state = manifest.and_then(|manifest| manifest.machine.run_state.as_deref());
        let vmdesc = self.state.vmdesc.as_ref();
        Findings {
            schema: ui::SCHEMA,
            what: match &self.kind {
                Kind::Stream { .. } => "stream",
                Kind::Checkpoint(_) => "checkpoint",
            },
            container,
            machine: configuration.map(|configuration| configuration.machine.as_str()),
            capabilities: configuration.map_or(&[], |configuration| &configuration.capabilities),
            mode: self.mode(),
            whole: self.trouble.is_none(),
            run_state: run_state
                .or_else(|| self.state.run_state())
                .map(str::to_owned),
            page_size: self.page_size.bytes() as u64,
            blocks: &self.blocks,
            layout: self.layout.as_ref().map_or(&[], |(placed, _)| placed),
            layout_assumptions: self.layout.as_ref().map_or(&[], |(_, said)| said),
            layout_error: self.layout.as_ref().err().map(String::as_str),
            sections: self.sections(),
            elements: listing.map(|listing| listing.elements.as_slice()),
            more_elements: listing.map_or(0, |listing| listing.more),
            vmdesc_bytes: vmdesc.map(|json| json.len() as u64),
            stream_bytes: match &self.kind {
                Kind::Stream { summary, .. } => summary.as_ref().map(|summary| summary.bytes),
                Kind::Checkpoint(manifest) => manifest.statistics.stream_bytes,
            },
            channels: match &self.kind {
                Kind::Stream { channels, .. } => channels,
                Kind::Checkpoint(_) => &[],
            },
            manifest,
            notes: &self.notes,
            error: self.trouble.as_ref().map(ToString::to_string),
        }
    }

    fn mode(&self) -> Option<&'static str> {
        let Kind::Stream { summary, .. } = &self.kind else {
            return None;
        };
        let configuration = self.state.configuration.as_ref();
        if configuration.is_some_and(|c| c.has_capability(MAPPED_RAM)) {
            return Some("mapped-ram");
        }
        let summary = summary.as_ref()?;
        if self.blocks.is_empty() {
            return None;
        }
        if summary.switched_to_postcopy {
            return Some("postcopy");
        }
        // How the RAM ends tells, so it must have been read to its end.
        if self.trouble.is_some() {
            return None;
        }
        Some(if summary.ram_ended {
            "precopy"
        } else {
            "background-snapshot"
        })
    }

    fn sections(&self) -> Vec<Section<'_>> {
        let all = 0..self.places.len();
        all.filter_map(|at| self.section(at)).collect()
    }

    /// The device section with this number.
    pub(super) fn section(&self, at: usize) -> Option<Section<'_>> {
        let (device, place) = (self.state.devices.get(at)?, self.places.get(at)?);
        Some(Section {
            idstr: &device.header().idstr,
            instance_id: device.header().instance_id,
            version_id: device.header().version_id,
            section_id: device.header().section_id,
            offset: place.offset,
            bytes: device.payload_len() as u64,
            early: device.phase() == Phase::Early,
            guessed: place.split == Split::Footer && self.state.vmdesc.is_none(),
        })
    }
}
