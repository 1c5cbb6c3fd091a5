//! A visitor that wants no more at some point, and a stream that comes in pieces: the pass ends there
//! and then, and what was shown does not depend on how the bytes came.

#![no_main]

#[path = "common/pieces.rs"]
mod pieces;

use libfuzzer_sys::fuzz_target;
use vmferry::error::Error;
use vmferry::load::{
    Assumption, Element, LoadError, Mode, Options, Origin, OtherSections, Summary, Visitor,
    VmDescRule, load,
};
use vmferry::machine::{Configuration, DeviceSection};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::stream::{Reader, ReaderConfig};
use vmferry::wire::dirty_bitmap::Content;
use vmferry::wire::{SliceSource, Source, limits};

use self::pieces::Pieces;

/// Takes so many things, refuses the next one, and is never shown another.
#[derive(Debug, PartialEq)]
struct Limited {
    left: u32,
    refused: bool,
    /// A sum over everything that was shown.
    seen: u64,
    blocks: RamBlocks,
}

#[derive(Debug, PartialEq)]
struct Enough;

impl Limited {
    fn new(limit: u32) -> Self {
        Self {
            left: limit,
            refused: false,
            seen: 0,
            blocks: RamBlocks::default(),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Enough> {
        assert!(!self.refused, "shown something behind a refusal");
        for byte in bytes {
            self.seen = self.seen.rotate_left(5) ^ u64::from(*byte);
        }
        self.seen = self.seen.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.refused = true;
                Err(Enough)
            }
        }
    }
}

impl Visitor for Limited {
    type Error = Enough;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Enough> {
        assert!(configuration.capabilities.len() <= limits::CAPABILITIES as usize);
        self.take(configuration.machine.as_bytes())
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, _: PageSize) -> Result<(), Enough> {
        assert!(blocks.len() <= limits::RAM_BLOCKS);
        self.blocks = blocks.clone();
        self.take(&blocks.total_length().to_be_bytes())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        _: Page<'_>,
        _: Origin,
    ) -> Result<(), Enough> {
        assert!(block.0 < self.blocks.len());
        self.take(&page.0.to_be_bytes())
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        _: PageIndex,
        differences: &[u8],
        _: Origin,
    ) -> Result<(), Enough> {
        assert!(block.0 < self.blocks.len());
        self.take(differences)
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Enough> {
        assert!(section.element.len() <= limits::DEVICE_STATE + limits::VMDESC);
        self.take(section.element)
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Enough> {
        assert!(json.len() <= limits::VMDESC);
        self.take(json)
    }

    fn dirty_bitmap(&mut self, _: &str, bitmap: &str, _: &Content) -> Result<(), Enough> {
        self.take(bitmap.as_bytes())
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), Enough> {
        self.take(&element.length.to_be_bytes())
    }

    fn assumption(&mut self, assumption: &Assumption) -> Result<(), Enough> {
        self.take(assumption.to_string().as_bytes())
    }
}

/// What came out: what was seen, and the summary or the text of the error.
fn pass(
    source: &mut impl Source<Error: Into<Error>>,
    limit: u32,
    mode: Mode,
) -> (Limited, Result<Summary, String>) {
    let mut visitor = Limited::new(limit);
    let options = Options {
        mode,
        other_sections: OtherSections::PassOver,
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    let result = load(source, &mut visitor, &options);
    let refused = matches!(result, Err(LoadError::Visitor(Enough)));
    assert_eq!(
        refused, visitor.refused,
        "a refusal is what the pass reports"
    );
    let result = result.map_err(|error| match error {
        LoadError::Read(error) => error.to_string(),
        LoadError::Visitor(Enough) => "enough".into(),
    });
    (visitor, result)
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([limit, piece], stream)) = bytes.split_first_chunk() else {
        return;
    };
    // As few as one, or all of them.
    let limit = if *limit == u8::MAX {
        u32::MAX
    } else {
        (*limit).into()
    };
    let mode = match piece % 2 {
        0 => Mode::Rescue,
        _ => Mode::Strict,
    };
    let whole = pass(&mut SliceSource::new(stream), limit, mode);
    let pieces = Pieces::new(stream, 1 + usize::from(*piece) * 61, 0);
    let config = ReaderConfig {
        window: limits::TAKE,
        ..ReaderConfig::default()
    };
    let in_pieces = pass(&mut Reader::with_config(pieces, &config), limit, mode);
    assert_eq!(whole, in_pieces);
});
