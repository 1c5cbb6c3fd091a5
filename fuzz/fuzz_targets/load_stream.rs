//! A stream that is anything at all: an error, or a machine that is the same when it is sent again.

#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use vmferry::load::{Image, Mode, Options, Origin, Visitor, VmDescRule, load};
use vmferry::progress::Progress;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::save::{self, SaveError};
use vmferry::wire::{SliceSource, limits, xbzrle};

/// Machines above this many bytes are only looked at: sending them takes too long.
const SMALL: u64 = 8 << 20;

/// Keeps nothing.
#[derive(Default)]
struct Look {
    blocks: RamBlocks,
    page_size: Option<PageSize>,
}

impl Visitor for Look {
    type Error = Infallible;

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Infallible> {
        (self.blocks, self.page_size) = (blocks.clone(), Some(page_size));
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        let page_size = self.page_size.expect("pages come behind their blocks");
        let block = self.blocks.get(block).expect("a page is in a block");
        assert!(page.0 < block.pages(page_size));
        if let Page::Data(data) = content {
            assert_eq!(data.len(), page_size.bytes());
        }
        Ok(())
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        origin: Origin,
    ) -> Result<(), Infallible> {
        self.page(block, page, Page::Zero, origin)?;
        let page_size = self.page_size.expect("pages come behind their blocks");
        let mut data = vec![0; page_size.bytes()];
        xbzrle::decode(differences, &mut data).expect("they were checked");
        Ok(())
    }
}

/// What can be taken of it, whatever it is; of what is whole, nothing else, as long as all of it is in sight: where
/// a device ends, rescue judges by what it can see.
fn rescue(bytes: &[u8]) {
    let options = |mode| Options {
        mode,
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    let mut look = Look::default();
    let looked = load(
        &mut SliceSource::new(bytes),
        &mut look,
        &options(Mode::Rescue),
    );
    let is_small = look.blocks.total_length() <= SMALL;
    let mut strict = Image::default();
    let taken = load(
        &mut SliceSource::new(bytes),
        &mut strict,
        &options(Mode::Strict),
    );
    if taken.is_ok() {
        assert!(looked.is_ok(), "what is right cannot be rescued");
        if is_small && bytes.len() <= limits::TAKE {
            let mut rescued = Image::default();
            let again = load(
                &mut SliceSource::new(bytes),
                &mut rescued,
                &options(Mode::Rescue),
            );
            assert!(again.is_ok() && rescued == strict);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    rescue(bytes);
    for vmdesc in [VmDescRule::Required, VmDescRule::Optional] {
        let options = Options {
            vmdesc,
            ..Options::default()
        };
        let mut look = Look::default();
        if load(&mut SliceSource::new(bytes), &mut look, &options).is_err() {
            continue;
        }
        if look.blocks.total_length() > SMALL {
            continue;
        }
        let mut image = Image::default();
        load(&mut SliceSource::new(bytes), &mut image, &options).expect("it was loaded before");
        let mut again = Vec::new();
        match save::precopy(&mut again, &image.state, &image, &Progress::default()) {
            Ok(()) => {}
            Err(SaveError::SharedMemoryLeftOut) => continue,
            Err(error) => panic!("memory takes all: {error}"),
        }
        let mut same = Image::default();
        if load(&mut SliceSource::new(&again), &mut same, &options).is_ok() {
            assert_eq!(image.state, same.state);
        } else {
            // A machine without a description may look otherwise without what stood around it.
            // And one that moved before its pages has none, whatever is required.
            assert!(vmdesc == VmDescRule::Optional || image.state.vmdesc.is_none());
        }
    }
});
