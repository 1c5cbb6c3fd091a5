//! Sources of different kinds with one type of error, so that they can stand behind one trait object.

use std::error::Error;
use std::fmt;
use std::ops::{ControlFlow, Range};

use super::{BlockIndex, Page, PageIndex, PageKind, PageRange, PageSize, PageSource, RamBlocks};

/// A source whose errors are [`PageError`]s: `&dyn PageSource<Error = PageError>` is any of them.
///
/// ```
/// use vmferry::ram::{Erased, PageError, PageSource};
///
/// fn pages<S: PageSource>(source: S) -> u64 {
///     let source: &dyn PageSource<Error = PageError> = &Erased(source);
///     let page_size = source.page_size();
///     source.blocks().iter().map(|(_, block)| block.pages(page_size)).sum()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Erased<P>(pub P);

/// Why a page could not be had, whatever the source is.
///
/// It reads like the error that it holds, and has the same [`source`](Error::source).
pub struct PageError(Box<dyn Error + Send + Sync>);

impl PageError {
    /// Erases the type of an error.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// The error that it holds.
    pub fn inner(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Debug for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for PageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[deny(clippy::missing_trait_methods)]
impl<P: PageSource> PageSource for Erased<P> {
    type Error = PageError;

    fn page_size(&self) -> PageSize {
        self.0.page_size()
    }

    fn blocks(&self) -> &RamBlocks {
        self.0.blocks()
    }

    fn page(
        &self,
        block: BlockIndex,
        page: PageIndex,
        out: &mut [u8],
    ) -> Result<PageKind, PageError> {
        self.0.page(block, page, out).map_err(PageError::new)
    }

    fn pages(
        &self,
        wanted: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        self.0.pages(wanted, visit).map_err(PageError::new)
    }

    fn pages_of(
        &self,
        block: BlockIndex,
        pages: Range<PageIndex>,
        visit: &mut dyn FnMut(PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        self.0.pages_of(block, pages, visit).map_err(PageError::new)
    }

    fn read(
        &self,
        wanted: &mut dyn Iterator<Item = PageRange>,
        visit: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
    ) -> Result<(), PageError> {
        self.0.read(wanted, visit).map_err(PageError::new)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use super::*;

    /// A source without any page.
    struct Empty(RamBlocks);

    impl PageSource for Empty {
        type Error = Infallible;

        fn page_size(&self) -> PageSize {
            PageSize::X86
        }

        fn blocks(&self) -> &RamBlocks {
            &self.0
        }

        fn page(&self, _: BlockIndex, _: PageIndex, _: &mut [u8]) -> Result<PageKind, Infallible> {
            Ok(PageKind::Absent)
        }

        fn pages(
            &self,
            _: &(dyn Fn(BlockIndex, PageIndex) -> bool + Sync),
            _: &mut dyn FnMut(BlockIndex, PageIndex, Page<'_>) -> ControlFlow<()>,
        ) -> Result<(), Infallible> {
            Ok(())
        }
    }

    #[test]
    fn sources_of_different_kinds_stand_behind_one_trait_object() {
        let sources: [Box<dyn PageSource<Error = PageError>>; 2] = [
            Box::new(Erased(Empty(RamBlocks::default()))),
            Box::new(Erased(Erased(Empty(RamBlocks::default())))),
        ];
        for source in sources {
            let kind = source.page(BlockIndex(0), PageIndex(0), &mut []);
            assert_eq!(kind.unwrap(), PageKind::Absent);
        }
    }

    #[test]
    fn an_erased_error_reads_like_what_it_holds() {
        let error = io::Error::other(fmt::Error);
        let (text, cause) = (error.to_string(), error.source().map(ToString::to_string));
        let error = PageError::new(error);
        assert_eq!(error.to_string(), text);
        assert_eq!(error.source().map(ToString::to_string), cause);
        assert!(error.inner().is::<io::Error>());
    }
}
