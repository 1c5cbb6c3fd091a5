//! Readers of one checkpoint: what they share, what is kept of it, and in which order they may ask.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Barrier;
use std::thread;

use common::{Content, Machine, block, files, tiny_store};
use tempfile::TempDir;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageRange, PageSize, PageSource};
use vmferry_store::{Checkpoint, Manifest, ReadOptions, Store};

/// A machine of 200 pages in frames of four, in many packs, sent in no order, some of them twice.
fn machine() -> Machine {
    let mut machine = Machine::small();
    machine.blocks = [
        block("pc.ram", 200, PageSize::MIN),
        block("vga.vram", 8, PageSize::MIN),
    ]
    .into_iter()
    .collect();
    machine.sent.clear();
    for step in 0..240_u64 {
        let page = PageIndex(step * 77 % 200);
        let content = match step % 5 {
            0 => Content::Zero,
            1 => Content::Text(step),
            _ => Content::Noise(step),
        };
        machine.sent.push((BlockIndex(0), page, content));
    }
    let vram = (BlockIndex(1), PageIndex(3), Content::Noise(7));
    machine.sent.push(vram);
    machine
}

struct Sample {
    directory: TempDir,
    store: Store,
    manifest: Manifest,
}

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = tiny_store(directory.path());
        let manifest = machine().save(&store, "vm").unwrap();
        assert!(manifest.packs.len() > 10, "{}", manifest.packs.len());
        Self {
            directory,
            store,
            manifest,
        }
    }

    fn open(&self, options: ReadOptions) -> Checkpoint {
        self.store
            .checkpoint(&self.manifest.name(), options)
            .unwrap()
    }

    fn frames(&self) -> u64 {
        self.manifest.packs.iter().map(|pack| pack.frames).sum()
    }
}

fn everything(checkpoint: &Checkpoint) {
    checkpoint
        .pages(&|_, _| true, &mut |_, _, _| ControlFlow::Continue(()))
        .unwrap();
}

#[test]
fn however_little_is_kept_everything_is_found() {
    let sample = Sample::new();
    let workers = NonZeroUsize::new(3).unwrap();
    for pass_pages in [0, 1, 7, 50, 1000] {
        let options = ReadOptions::default()
            .workers(workers)
            .pass_pages(pass_pages);
        machine().check(&sample.open(options)).unwrap();
        let least = options.cache_bytes(0).index_bytes(0).open_packs(0);
        machine().check(&sample.open(least)).unwrap();
        let little = options.cache_bytes(8192).index_bytes(600).open_packs(3);
        let checkpoint = sample.open(little);
        machine().check(&checkpoint).unwrap();
        assert!(checkpoint.verify().is_sound());
    }
}

#[test]
fn a_frame_is_decompressed_once_for_all_who_read_the_checkpoint() {
    let sample = Sample::new();
    let checkpoint = sample.open(ReadOptions::default());
    let start = Barrier::new(6);
    thread::scope(|scope| {
        for reader in 0..6 {
            let (checkpoint, start) = (&checkpoint, &start);
            scope.spawn(move || {
                start.wait();
                match reader % 2 {
                    0 => everything(checkpoint),
                    _ => machine().check(checkpoint).unwrap(),
                }
            });
        }
    });
    // A frame all of whose pages came again is of no use to anybody.
    let decompressed = checkpoint.decompressed_frames();
    assert!(decompressed <= sample.frames(), "{decompressed}");
    everything(&checkpoint);
    assert_eq!(checkpoint.decompressed_frames(), decompressed);
}

#[test]
fn a_walk_does_not_decompress_what_a_request_has() {
    let sample = Sample::new();
    let checkpoint = sample.open(ReadOptions::default());
    let mut page = vec![0; 1024];
    for number in (0..200).map(PageIndex) {
        checkpoint.page(BlockIndex(0), number, &mut page).unwrap();
    }
    let requested = checkpoint.decompressed_frames();
    everything(&checkpoint);
    // But for the one of the other block.
    assert!(checkpoint.decompressed_frames() - requested <= 1);
}

#[test]
fn a_verification_reads_the_packs_and_not_what_is_in_memory() {
    let sample = Sample::new();
    let checkpoint = sample.open(ReadOptions::default());
    everything(&checkpoint);
    let all = files(sample.directory.path());
    let pack = all.iter().find(|file| file.starts_with("packs/")).unwrap();
    let path = sample.directory.path().join(pack);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    machine().check(&checkpoint).unwrap();
    let report = checkpoint.verify();
    assert_eq!(report.damages.len(), 1, "{:?}", report.damages);
}

fn range(block: usize, from: u64, to: u64) -> PageRange {
    PageRange {
        block: BlockIndex(block),
        pages: PageIndex(from)..PageIndex(to),
    }
}

/// The pages that `checkpoint` shows for `wanted`; each must be what was saved.
fn read(
    checkpoint: &Checkpoint,
    wanted: &mut dyn Iterator<Item = PageRange>,
    most: usize,
) -> Vec<(usize, u64)> {
    let expected = machine().expected();
    let mut shown = Vec::new();
    checkpoint
        .read(wanted, &mut |block, page, content| {
            let wanted = expected[&(block.0, page.0)];
            match content {
                Page::Zero => assert_eq!(wanted, Content::Zero),
                Page::Data(bytes) => assert_eq!(bytes, &wanted.bytes(PageSize::MIN)[..]),
            }
            shown.push((block.0, page.0));
            match shown.len() < most {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
        .unwrap();
    shown
}

#[test]
fn ranges_are_shown_in_the_order_in_which_they_are_asked_for() {
    let sample = Sample::new();
    let ranges = [
        range(0, 150, 190),
        range(1, 0, 8),
        range(0, 3, 3),
        range(0, 0, 20),
        range(0, 160, 162),
        range(0, 199, 200),
    ];
    let expected = machine().expected();
    let wanted: Vec<(usize, u64)> = ranges
        .iter()
        .flat_map(|range| {
            let pages = range.pages.start.0..range.pages.end.0;
            pages.map(|page| (range.block.0, page))
        })
        .filter(|page| expected.contains_key(page))
        .collect();
    for options in [
        ReadOptions::default(),
        ReadOptions::default().cache_bytes(0),
    ] {
        let checkpoint = sample.open(options);
        let shown = read(&checkpoint, &mut ranges.clone().into_iter(), usize::MAX);
        assert_eq!(shown, wanted);
        // One that does not say how many ranges it has is asked for one at a time.
        let mut slowly = ranges.clone().into_iter();
        let mut slowly = std::iter::from_fn(|| slowly.next());
        assert_eq!(read(&checkpoint, &mut slowly, usize::MAX), wanted);
        for most in 1..wanted.len() {
            let shown = read(&checkpoint, &mut ranges.clone().into_iter(), most);
            assert_eq!(shown, wanted[..most]);
        }
    }
    let checkpoint = sample.open(ReadOptions::default());
    let mut every_page = (0..200).rev().map(|page| range(0, page, page + 1));
    read(&checkpoint, &mut every_page, usize::MAX);
    assert!(checkpoint.decompressed_frames() <= sample.frames());
}

#[test]
fn a_caller_that_waits_for_the_next_range_has_been_shown_the_ones_before() {
    let sample = Sample::new();
    let checkpoint = sample.open(ReadOptions::default());
    let shown = RefCell::new(0);
    let mut asked = 0;
    let mut wanted = std::iter::from_fn(|| {
        assert_eq!(*shown.borrow(), asked);
        asked += 1;
        (asked <= 30).then(|| range(0, asked, asked + 1))
    });
    checkpoint
        .read(&mut wanted, &mut |_, _, _| {
            *shown.borrow_mut() += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(shown.into_inner(), 30);
}

#[test]
fn a_range_beyond_a_block_is_refused() {
    let sample = Sample::new();
    let checkpoint = sample.open(ReadOptions::default());
    let ignore = &mut |_, _, _: Page<'_>| ControlFlow::Continue(());
    for wanted in [range(0, 199, 201), range(2, 0, 1)] {
        assert!(checkpoint.read(&mut [wanted].into_iter(), ignore).is_err());
    }
}
