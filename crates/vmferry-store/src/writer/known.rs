//! Pages that need not be stored because they are in the store already.

use vmferry::ram::{BlockIndex, PageIndex};

use crate::digest::Digest;
use crate::manifest::PackRecord;
use crate::pack::Place;

/// What a look-up of a page found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The page has to be stored.
    New,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "until a save may refer to its parent")
    )]
    /// The page is in one of [`KnownPages::packs`]; its place counts them by their position there.
    Known(Place),
}

/// What a save may refer to instead of storing it again.
///
/// Workers ask it for each page that is not zero, several at a time, once the page's digest is known.
pub(crate) trait KnownPages: Send + Sync {
    /// Where a page is that has this digest.
    fn look_up(&self, block: BlockIndex, page: PageIndex, digest: &Digest) -> Lookup;

    /// The packs that places may name. They stay in the store until the save has been published.
    fn packs(&self) -> &[PackRecord];
}

/// For a save that refers to nothing.
pub(crate) struct NothingKnown;

impl KnownPages for NothingKnown {
    fn look_up(&self, _: BlockIndex, _: PageIndex, _: &Digest) -> Lookup {
        Lookup::New
    }

    fn packs(&self) -> &[PackRecord] {
        &[]
    }
}
