//! Who is shown what a stream holds.

use super::{Assumption, Bitmap, Element, Origin};
use crate::machine::{Configuration, DeviceSection};
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use crate::wire::dirty_bitmap;

/// What is to become of the pages of a block of a mapped-ram file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappedPages {
    /// Each is shown.
    Show,
    /// None is: it is enough to know where they are. Where the source has places, they are not even read.
    Skip,
}

/// Receives what is in a stream, in stream order. Nothing is shown twice, except that a page may
/// come any number of times: the last one counts.
///
/// Only what says how pages are has to be written: [`page`](Self::page) and [`differences`](Self::differences), of
/// which neither is whole without the other. Everything else is passed over by itself.
pub trait Visitor {
    /// Why the visitor wants no more.
    type Error;

    /// The configuration element; not called for streams of machine types before 2.4.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Self::Error> {
        let _ = configuration;
        Ok(())
    }

    /// The RAM block list; again if a stream lists blocks again. Indices stay valid.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Self::Error> {
        let _ = (blocks, page_size);
        Ok(())
    }

    /// One page. Block and page are within the table.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        origin: Origin,
    ) -> Result<(), Self::Error>;

    /// The pages of a block of a mapped-ram file stand side by side from `offset` of the stream on, and
    /// `bitmap` says which of them are not zeros. Whoever wants no more of them than that says so here; else
    /// each of them is shown as a [`page`](Self::page).
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn mapped_block(
        &mut self,
        block: BlockIndex,
        bitmap: &Bitmap,
        offset: u64,
    ) -> Result<MappedPages, Self::Error> {
        let _ = (block, bitmap, offset);
        Ok(MappedPages::Show)
    }

    /// The differences of one page from the page as it is at this point of the stream: all zeros, if
    /// it has not come yet. [`xbzrle::decode`](crate::wire::xbzrle::decode) applies them, and takes them:
    /// they were checked. Block and page are within the table.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        origin: Origin,
    ) -> Result<(), Self::Error>;

    /// One device's state.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Self::Error> {
        let _ = section;
        Ok(())
    }

    /// The trailing JSON description of the device sections, as it came.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Self::Error> {
        let _ = json;
        Ok(())
    }

    /// Something about a dirty bitmap of a block node.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn dirty_bitmap(
        &mut self,
        node: &str,
        bitmap: &str,
        content: &dirty_bitmap::Content,
    ) -> Result<(), Self::Error> {
        let _ = (node, bitmap, content);
        Ok(())
    }

    /// An element, once it was read: all of them, in the order of the stream. For callers that list what is
    /// where; the contents come through the other methods, before their element.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn element(&mut self, element: &Element<'_>) -> Result<(), Self::Error> {
        let _ = element;
        Ok(())
    }

    /// Something that the pass had to assume, or that it passed over. The [`Summary`](super::Summary) has
    /// the first of them, too.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn assumption(&mut self, assumption: &Assumption) -> Result<(), Self::Error> {
        let _ = assumption;
        Ok(())
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        /// Forwards everything, also what has a default.
        #[deny(clippy::missing_trait_methods)]
        impl<V: Visitor + ?Sized> Visitor for $pointer {
            type Error = V::Error;

            fn configuration(&mut self, configuration: &Configuration) -> Result<(), V::Error> {
                (**self).configuration(configuration)
            }

            fn ram_blocks(
                &mut self,
                blocks: &RamBlocks,
                page_size: PageSize,
            ) -> Result<(), V::Error> {
                (**self).ram_blocks(blocks, page_size)
            }

            #[inline]
            fn page(
                &mut self,
                block: BlockIndex,
                page: PageIndex,
                content: Page<'_>,
                origin: Origin,
            ) -> Result<(), V::Error> {
                (**self).page(block, page, content, origin)
            }

            fn mapped_block(
                &mut self,
                block: BlockIndex,
                bitmap: &Bitmap,
                offset: u64,
            ) -> Result<MappedPages, V::Error> {
                (**self).mapped_block(block, bitmap, offset)
            }

            fn differences(
                &mut self,
                block: BlockIndex,
                page: PageIndex,
                differences: &[u8],
                origin: Origin,
            ) -> Result<(), V::Error> {
                (**self).differences(block, page, differences, origin)
            }

            fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), V::Error> {
                (**self).device(section)
            }

            fn vmdesc(&mut self, json: &[u8]) -> Result<(), V::Error> {
                (**self).vmdesc(json)
            }

            fn dirty_bitmap(
                &mut self,
                node: &str,
                bitmap: &str,
                content: &dirty_bitmap::Content,
            ) -> Result<(), V::Error> {
                (**self).dirty_bitmap(node, bitmap, content)
            }

            fn element(&mut self, element: &Element<'_>) -> Result<(), V::Error> {
                (**self).element(element)
            }

            fn assumption(&mut self, assumption: &Assumption) -> Result<(), V::Error> {
                (**self).assumption(assumption)
            }
        }
    )*};
}

forward!(&mut V, Box<V>);
