//! A machine, and a source of its pages that has its moods.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Condvar, Mutex};
use std::thread::{self, ThreadId};

use vmferry::load::{Image, Options, Visitor, load};
use vmferry::postcopy::HostPages;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlocks};
use vmferry::wire::SliceSource;

/// A page of a block.
pub(crate) type At = (BlockIndex, PageIndex);

/// A machine that a real QEMU sent.
pub(crate) fn machine() -> Image {
    let path = "../../testdata/streams/10.0-pc-small.stream.zst";
    let file = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let bytes = zstd::decode_all(&*file.expect("it is there")).expect("it is a zstd frame");
    let mut image = Image::default();
    load(
        &mut SliceSource::new(&bytes),
        &mut image,
        &Options::default(),
    )
    .expect("QEMU sent it");
    image
}

/// The largest block of a machine.
pub(crate) fn ram(image: &Image) -> BlockIndex {
    let blocks = image.blocks().iter();
    let largest = blocks.max_by_key(|(_, block)| block.used_length);
    largest.expect("it has memory").0
}

/// A copy of a machine, without its pages for which `keeps` says no.
pub(crate) fn part_of(whole: &Image, keeps: impl Fn(At) -> bool + Sync) -> Image {
    let mut image = Image::default();
    image.state = whole.state.clone();
    let Ok(()) = image.ram_blocks(whole.blocks(), whole.page_size());
    let Ok(()) = whole.pages(
        &|block, page| keeps((block, page)),
        &mut |block, page, content| {
            image.put(block, page, content);
            ControlFlow::Continue(())
        },
    );
    image
}

/// Where a [`Moody`] source shows the fill nothing more for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// After so many pages that it shows.
    StallsAfter(usize),
    /// When it is asked for this page by itself, by the thread that it is asked by first.
    StallsAt(At),
    /// When it is asked for this page by itself: it panics; and it shows the fill nothing more after three pages.
    PanicsAt(At),
    /// After so many pages that it shows: it panics.
    PanicsAfter(usize),
}

/// A source that has its moods.
pub(crate) struct Moody {
    pub(crate) image: Image,
    mood: Mood,
    /// Told the pages that were shown before the stall.
    stalled: Sender<Vec<At>>,
    first: Mutex<Option<ThreadId>>,
    goes_on: Mutex<bool>,
    changed: Condvar,
}

impl Moody {
    pub(crate) fn new(image: Image, mood: Mood) -> (Self, Receiver<Vec<At>>) {
        let (stalled, is_stalled) = mpsc::channel();
        let source = Self {
            image,
            mood,
            stalled,
            first: Mutex::new(None),
            goes_on: Mutex::new(false),
            changed: Condvar::new(),
        };
        (source, is_stalled)
    }

    fn stall(&self, shown: Vec<At>) {
        self.stalled.send(shown).expect("the test waits for it");
        let mut goes_on = self.goes_on.lock().expect("nothing panics under it");
        while !*goes_on {
            goes_on = self.changed.wait(goes_on).expect("nothing panics under it");
        }
    }

    pub(crate) fn go_on(&self) {
        *self.goes_on.lock().expect("nothing panics under it") = true;
        self.changed.notify_all();
    }
}

impl PageSource for Moody {
    type Error = Infallible;

    fn page_size(&self) -> PageSize {
        self.image.page_size()
    }

    fn blocks(&self) -> &RamBlocks {
        self.image.blocks()
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, Infallible> {
        assert_ne!(self.mood, Mood::PanicsAt((block, page)));
        if self.mood == Mood::StallsAt((block, page)) {
            let this = thread::current().id();
            let first = *self.first.lock().unwrap().get_or_insert(this);
            if first == this {
                self.stall(vec![(block, page)]);
            }
        }
        self.image.page(block, page, out)
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        let mut shown = Vec::new();
        self.image.pages(wanted, &mut |block, page, content| {
            visit(block, page, content)?;
            shown.push((block, page));
            assert_ne!(self.mood, Mood::PanicsAfter(shown.len()));
            let stalls_after = match self.mood {
                Mood::StallsAfter(pages) => pages,
                Mood::PanicsAt(_) => 3,
                Mood::StallsAt(_) | Mood::PanicsAfter(_) => usize::MAX,
            };
            if shown.len() == stalls_after {
                self.stall(shown.clone());
            }
            ControlFlow::Continue(())
        })
    }
}

/// Every page of the machine, as it arrives.
pub(crate) fn memory(image: &Image) -> HashMap<At, Option<Vec<u8>>> {
    let mut memory = HashMap::new();
    let Ok(()) = image.pages(&|_, _| true, &mut |block, page, content| {
        let data = match content {
            Page::Zero => None,
            Page::Data(data) => Some(data.to_vec()),
        };
        memory.insert((block, page), data);
        ControlFlow::Continue(())
    });
    memory
}

/// The largest block on host pages of 64 KiB.
pub(crate) fn large_pages(image: &Image) -> HostPages {
    let mut blocks = vec![4096; image.blocks().len()];
    blocks[ram(image).0] = 64 << 10;
    HostPages { base: 4096, blocks }
}
