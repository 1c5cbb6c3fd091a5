//! A stream that is anything at all: an error, or a machine that is the same when it is sent again.

#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use vmferry::load::{Configuration, DeviceSection, Image, Options, Visitor, VmDescRule, load};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::save::{self, SaveError};
use vmferry::wire::{SliceSource, xbzrle};

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

    fn configuration(&mut self, _: &Configuration) -> Result<(), Infallible> {
        Ok(())
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Infallible> {
        (self.blocks, self.page_size) = (blocks.clone(), Some(page_size));
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
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
    ) -> Result<(), Infallible> {
        self.page(block, page, Page::Zero)?;
        let page_size = self.page_size.expect("pages come behind their blocks");
        let mut data = vec![0; page_size.bytes()];
        xbzrle::decode(differences, &mut data).expect("they were checked");
        Ok(())
    }

    fn device(&mut self, _: &DeviceSection<'_>) -> Result<(), Infallible> {
        Ok(())
    }

    fn vmdesc(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
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
        match save::precopy(&mut again, &image.state, &image, &mut |_| {}) {
            Ok(()) => {}
            Err(SaveError::SharedMemoryLeftOut) => continue,
            Err(error) => panic!("memory takes all: {error}"),
        }
        let mut same = Image::default();
        if load(&mut SliceSource::new(&again), &mut same, &options).is_ok() {
            assert_eq!(image.state, same.state);
        } else {
            // A machine without a description may look otherwise without what stood around it.
            assert_eq!(vmdesc, VmDescRule::Optional);
        }
    }
});
