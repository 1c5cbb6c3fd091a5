//! Pages that are to be the same, wherever they are.

use vmferry::index::Index;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSource};

/// A page that was shown is the one that `other` has there; `page` is room for one.
pub fn assert_same(
    other: &Index,
    block: BlockIndex,
    index: PageIndex,
    content: Page<'_>,
    page: &mut [u8],
) {
    let kind = other.page(block, index, page).expect("it is there");
    match content {
        Page::Zero => assert_eq!(kind, PageKind::Zero),
        Page::Data(data) => assert_eq!(data, page),
    }
}
