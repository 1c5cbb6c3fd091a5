//! What claims to be a mapped-ram file, whose pages are as they are: an error, or a machine that is the same when it
//! is read through a visitor that skips the pages.

#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use vmferry::load::{
    Image, MappedPages, Mode, Options, Origin, Summary, Visitor, VmDescRule, load,
};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::wire::SliceSource;
use vmferry::wire::mapped_ram::Bitmap;

/// A file's first pages stand here.
const PAGES: usize = 8 << 10;
/// How much of them there is.
const ROOM: usize = 32 << 10;
/// More memory than this is not looked at page by page.
const SMALL: u64 = 1 << 20;

/// Keeps the blocks, and goes over the pages.
#[derive(Default)]
struct Skip {
    blocks: RamBlocks,
}

impl Visitor for Skip {
    type Error = Infallible;

    fn ram_blocks(&mut self, blocks: &RamBlocks, _: PageSize) -> Result<(), Infallible> {
        self.blocks = blocks.clone();
        Ok(())
    }

    fn mapped_block(
        &mut self,
        block: BlockIndex,
        bitmap: &Bitmap,
        offset: u64,
    ) -> Result<MappedPages, Infallible> {
        let pages = self.blocks.get(block).expect("it is listed").used_length >> 12;
        assert!(!bitmap.has(pages), "a page behind the block's last");
        assert!(offset > 0);
        Ok(MappedPages::Skip)
    }

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

fn pass(
    file: &[u8],
    mode: Mode,
    visitor: &mut impl Visitor<Error = Infallible>,
) -> Option<Summary> {
    let options = Options {
        mode,
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    load(&mut SliceSource::new(file), visitor, &options).ok()
}

fuzz_target!(|bytes: &[u8]| {
    // What stands before the pages, and what comes behind them.
    let Some(([split], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let (head, tail) = bytes.split_at((usize::from(*split) * 16).min(bytes.len()));
    let mut file = head.to_vec();
    file.resize(PAGES, 0);
    file.resize(PAGES + ROOM, 0x5a);
    file.extend(tail);
    for mode in [Mode::Strict, Mode::Rescue] {
        let mut skip = Skip::default();
        let skipped = pass(&file, mode, &mut skip);
        if skip.blocks.total_length() > SMALL {
            continue;
        }
        let mut image = Image::default();
        let read = pass(&file, mode, &mut image);
        assert_eq!(skipped.map(|it| it.pages), read.map(|it| it.pages));
    }
});
