//! What a stream says, and streams to ask.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use vmferry::error::Error;
use vmferry::load::{
    Assumption, AssumptionKind, Element, LoadError, Mode, Options, Origin, Summary, Visitor,
    VmDescRule, load,
};
use vmferry::machine::{DeviceSection, Split};
use vmferry::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use vmferry::wire::SliceSource;

/// Bytes of a page of every machine here.
pub(crate) const PAGE: usize = 4096;

/// A stream that a real QEMU wrote.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let path = folder.join(format!("{name}.stream.zst"));
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    zstd::decode_all(&*file).expect("a golden stream is a zstd frame")
}

/// What tells bytes from others.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// What was shown.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub blocks: RamBlocks,
    /// Each page, in order, with what tells it from others; `None` for zeros.
    pub pages: Vec<(usize, u64, Option<u64>)>,
    pub devices: Vec<(String, Split, u64)>,
    pub vmdesc: bool,
    /// Each element in a few words, with its offset and length.
    pub elements: Vec<(String, u64, u64)>,
    pub assumptions: Vec<Assumption>,
}

impl Seen {
    /// The last content of each page.
    pub(crate) fn memory(&self) -> HashMap<(usize, u64), Option<u64>> {
        let pages = self.pages.iter();
        pages
            .map(|(block, page, data)| ((*block, *page), *data))
            .collect()
    }

    /// The names of the devices.
    pub(crate) fn device_names(&self) -> Vec<&str> {
        self.devices
            .iter()
            .map(|(name, ..)| name.as_str())
            .collect()
    }

    /// The kinds of what was assumed.
    pub(crate) fn assumed(&self) -> Vec<&AssumptionKind> {
        self.assumptions.iter().map(|it| &it.kind).collect()
    }
}

impl Visitor for Seen {
    type Error = Infallible;

    fn ram_blocks(&mut self, blocks: &RamBlocks, _: PageSize) -> Result<(), Infallible> {
        self.blocks = blocks.clone();
        Ok(())
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), Infallible> {
        let data = match content {
            Page::Zero => None,
            Page::Data(data) => Some(hash(data)),
        };
        self.pages.push((block.0, page.0, data));
        Ok(())
    }

    fn differences(
        &mut self,
        _: BlockIndex,
        _: PageIndex,
        _: &[u8],
        _: Origin,
    ) -> Result<(), Infallible> {
        panic!("no stream here has differences");
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Infallible> {
        let payload = hash(section.payload);
        self.devices
            .push((section.idstr.to_owned(), section.split, payload));
        Ok(())
    }

    fn vmdesc(&mut self, _: &[u8]) -> Result<(), Infallible> {
        self.vmdesc = true;
        Ok(())
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), Infallible> {
        let words = super::elements::words(element);
        self.elements.push((words, element.offset, element.length));
        Ok(())
    }

    fn assumption(&mut self, assumption: &Assumption) -> Result<(), Infallible> {
        self.assumptions.push(assumption.clone());
        Ok(())
    }
}

/// Reads a stream; without a description if need be.
pub(crate) fn read(bytes: &[u8], mode: Mode) -> Result<(Seen, Summary), String> {
    let options = Options {
        mode,
        vmdesc: VmDescRule::Optional,
        ..Options::default()
    };
    let mut seen = Seen::default();
    match load(&mut SliceSource::new(bytes), &mut seen, &options) {
        Ok(summary) => Ok((seen, summary)),
        Err(LoadError::Read(Error::Format(error))) => Err(error.to_string()),
        Err(LoadError::Read(error)) => panic!("{error}"),
        Err(LoadError::Visitor(never)) => match never {},
    }
}

/// A stream as QEMU would take it.
pub(crate) fn strict(bytes: &[u8]) -> Result<(Seen, Summary), String> {
    read(bytes, Mode::Strict)
}

/// Whatever can be taken.
pub(crate) fn rescue(bytes: &[u8]) -> (Seen, Summary) {
    read(bytes, Mode::Rescue).expect("this can be rescued")
}

/// Where `what` stands.
pub(crate) fn find(bytes: &[u8], what: &[u8]) -> usize {
    let found = bytes.windows(what.len()).position(|here| here == what);
    found.unwrap_or_else(|| panic!("{what:02x?} is not there"))
}
