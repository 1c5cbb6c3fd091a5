//! Work for each byte of what is read: an input may cost as much as its length, times a constant, and not more.
//!
//! Work is what the compiled code loads from memory, counted by the compiler's instrumentation of each load: nothing
//! has to be counted by hand, and nothing depends on the machine or its clock. An input says what reads it, and which
//! part of it is repeated: a loop within a loop shows when eight times as much takes far more than eight times the
//! work.

#![no_main]

#[path = "common/loads.rs"]
mod loads;

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vmferry::channel::Bytes;
use vmferry::container::{libvirt, qcow2};
use vmferry::index::Index;
use vmferry::load::{Mode, Options, Origin, OtherSections, Visitor, VmDescRule, load};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSource};
use vmferry::stream::{Reader, ReaderConfig};
use vmferry::wire::vmdesc::{Finder, VmDesc};
use vmferry::wire::{SliceSource, limits, vmstate};

/// Loads for each byte: a zero page has nine bytes, and a compressed one of 64 KiB some eighty.
const EACH: u64 = 4096;

/// Loads that limits allow whatever the length is.
const FIXED: u64 = 8 << 20;

const SHORT: usize = 8 << 10;
const LONG: usize = 64 << 10;

/// Keeps nothing.
struct Look;

impl Visitor for Look {
    type Error = Infallible;

    fn page(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        Ok(())
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        Ok(())
    }
}

fn options(mode: Mode) -> Options {
    Options {
        mode,
        vmdesc: VmDescRule::Optional,
        other_sections: OtherSections::PassOver,
        ..Options::default()
    }
}

fn scan(bytes: &[u8]) {
    for mode in [Mode::Strict, Mode::Rescue] {
        let _ = load(&mut SliceSource::new(bytes), &mut Look, &options(mode));
    }
}

fn through_a_reader(bytes: &[u8]) {
    let config = ReaderConfig {
        window: 2 * limits::TAKE,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::with_config(Bytes::new(bytes), &config);
    let _ = load(&mut reader, &mut Look, &options(Mode::Rescue));
}

/// Makes an index, and asks it for all pages: at once, and in pieces as a comparison does.
fn index(bytes: &[u8]) {
    const PIECE: u64 = 512;
    let place = Arc::new(bytes.to_vec());
    let mut reader = Reader::new(Bytes::new(bytes));
    let Ok(index) = Index::read(&mut reader, Some(place), &options(Mode::Rescue)) else {
        return;
    };
    let _ = index.pages(&|_, _| true, &mut |_, _, _| ControlFlow::Continue(()));
    for (block, ram) in index.blocks().iter() {
        let pages = ram.pages(index.page_size());
        let mut next = PageIndex(0);
        while let Some(first) = index.next_page(block, next) {
            next = PageIndex((first.0 / PIECE + 1) * PIECE);
            let piece = first..PageIndex(next.0.min(pages));
            let _ = index.pages_of(block, piece, &mut |_, _| ControlFlow::Continue(()));
        }
    }
}

/// Devices with their description, and the description alone.
fn describe(bytes: &[u8]) {
    let mut finder = Finder::default();
    while let Some(range) = finder.next(bytes) {
        let json = bytes.get(range.start + 5..range.end).unwrap_or_default();
        let _ = VmDesc::parse(json, 0);
    }
    let payload = bytes.get(bytes.len() / 2..).unwrap_or_default();
    let end = bytes.iter().rposition(|byte| *byte == b'}');
    let json = bytes.get(..end.map_or(0, |end| end + 1));
    let Ok(vmdesc) = VmDesc::parse(json.unwrap_or_default(), 0) else {
        return;
    };
    let mut rest = payload;
    for device in &vmdesc.devices {
        let len = device
            .payload_len()
            .and_then(|len| usize::try_from(len).ok());
        let (own, others) = rest.split_at(len.unwrap_or(0).min(rest.len()));
        let _ = vmstate::decode(device, own, 0);
        rest = others;
    }
}

fn image(bytes: &[u8]) {
    let place = Arc::new(bytes.to_vec());
    if let Ok(image) = qcow2::Image::open(place, bytes.len() as u64) {
        for snapshot in image.snapshots().iter().take(16) {
            let _ = image.vm_state(snapshot);
        }
    }
    let _ = libvirt::Image::decode(&mut Reader::new(Bytes::new(bytes)));
}

/// `bytes` with the part from `from` to `to` repeated, up to some length.
fn repeated(bytes: &[u8], from: usize, to: usize, len: usize) -> Vec<u8> {
    let (head, rest) = bytes.split_at(from);
    let (unit, tail) = rest.split_at(to - from);
    let times = len.saturating_sub(bytes.len()) / unit.len().max(1);
    [head, &unit.repeat(times + 1), tail].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([what, a, b, c, d], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let read = [scan, through_a_reader, index, describe, image][usize::from(what % 5)];
    let cut = |high, low| usize::from(u16::from_be_bytes([high, low])) % (bytes.len() + 1);
    let (one, other) = (cut(*a, *b), cut(*c, *d));
    let (from, to) = (one.min(other), one.max(other));
    let cost = |len| {
        let bytes = repeated(bytes, from, to, len);
        let loads = loads::of(|| read(&bytes));
        let most = EACH * bytes.len() as u64 + FIXED;
        assert!(loads <= most, "{loads} loads for {} bytes", bytes.len());
        loads
    };
    let short = cost(SHORT);
    if from < to && bytes.len() <= SHORT {
        let long = cost(LONG);
        assert!(
            long <= 16 * short + FIXED,
            "{short} loads, eight times the length {long}"
        );
    }
});
