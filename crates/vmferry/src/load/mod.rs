//! Reading a migration stream: one pass over it, shown to a [`Visitor`].
//!
//! The pass needs no seeking, keeps no page, and holds only the device sections back until their
//! description has come: they carry no length, and the description (vmdesc) stands behind the last
//! of them.
//!
//! ```text
//! header, configuration ─► configuration()
//! ram START: block list ─► ram_blocks()
//!   early FULL          ─► device()         before any page; its end is guessed, and checked at the end
//! ram START, PART, END  ─► page(), differences()   in any order, any number of times
//! FULL … to the end     ─► device(), vmdesc()
//! ```
//!
//! In a mapped-ram file each block comes with its pages: `ram_blocks()` again and again, each time with one
//! more.
//!
//! A background snapshot has no `ram` END, and a stream that was written by hand may have no PART:
//! neither is asked for. What is asked for is the end that QEMU writes, so that a stream that was
//! cut off is an error wherever it was cut.

mod devices;
mod image;
mod inflate;
mod mapped_ram;
mod pass;
mod ram;

pub use crate::wire::configuration::Configuration;
pub use image::Image;

use crate::error::Error;
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use crate::wire::Source;

/// Where in the stream a device section stands, which decides where it must stand when it is sent
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before any RAM page (`…/virtio-mem-device-early`): the destination needs it to place them.
    Early,
    /// After RAM: every other device.
    Device,
}

/// How the end of a device section was found; the stream itself does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// From the sizes in the trailing description (vmdesc): certain.
    Vmdesc,
    /// By looking for the section's footer before something that can start an element: a guess.
    Footer,
}

/// One device's state: a FULL section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSection<'a> {
    /// The section's number within this stream.
    pub section_id: u32,
    /// Whose state it is: `timer`, `cpu`, `0000:00:1f.2/ich9_ahci`, …
    pub idstr: &'a str,
    /// Which of several owners of the same name.
    pub instance_id: u32,
    /// The version of the state's layout.
    pub version_id: u32,
    /// Early or ordinary.
    pub phase: Phase,
    /// How its end was found. An early section is shown before its description has come and says
    /// [`Split::Footer`]; the pass fails later if the description disagrees.
    pub split: Split,
    /// The payload alone.
    pub payload: &'a [u8],
    /// The whole element, from its type byte to the end of its footer (where the stream has
    /// footers): what a replay sends.
    pub element: &'a [u8],
    /// Offset in the stream, in bytes, of the element's first byte.
    pub offset: u64,
}

/// Receives what is in a stream, in stream order. Nothing is shown twice, except that a page may
/// come any number of times: the last one counts.
pub trait Visitor {
    /// Why the visitor wants no more.
    type Error;

    /// The configuration element; not called for streams of machine types before 2.4.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Self::Error>;

    /// The RAM block list; again if a stream lists blocks again. Indices stay valid.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Self::Error>;

    /// One page. Block and page are within the table.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
    ) -> Result<(), Self::Error>;

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
    ) -> Result<(), Self::Error>;

    /// One device's state.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Self::Error>;

    /// The trailing JSON description of the device sections, as it came.
    ///
    /// # Errors
    /// Whatever the visitor likes; it ends the pass.
    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Self::Error>;
}

/// Whether a stream must end with the description of its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VmDescRule {
    /// It must: without it, a stream that was cut off before it would pass for a whole one.
    #[default]
    Required,
    /// It need not: machine types up to 2.2, or `suppress-vmdesc=on`.
    Optional,
}

/// What a pass insists on.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the description must be there.
    pub vmdesc: VmDescRule,
    /// Where the stream begins in its file, in bytes (`file:PATH,offset=N`): the offsets in a
    /// mapped-ram file are those of the file.
    pub file_offset: u64,
}

/// What a pass has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Page records in all; a page that came twice counts twice.
    pub pages: u64,
    /// Page records that said zero.
    pub zero_pages: u64,
    /// Page records that gave differences (XBZRLE).
    pub xbzrle_pages: u64,
    /// Page records that were compressed, each page by itself.
    pub compressed_pages: u64,
    /// Device sections, early ones included.
    pub devices: u64,
    /// The number of the `ram` section, where there was one.
    pub ram_section_id: Option<u32>,
    /// Whether the `ram` section was ended. That of a background snapshot is not.
    pub ram_ended: bool,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<V> {
    /// The stream is wrong, or could not be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// The visitor wanted no more.
    #[error("what was read could not be taken")]
    Visitor(#[source] V),
}

/// Reads a whole stream, from its header to its end, and shows it to `visitor`.
///
/// # Errors
/// The stream is not what QEMU writes, holds something that this library does not read, ends early,
/// or could not be read; or the visitor refused something. What has been shown until then is not a
/// state that anything can be started from.
#[doc(alias = "qemu_loadvm_state")]
pub fn load<S: Source, V: Visitor>(
    source: &mut S,
    visitor: &mut V,
    options: &Options,
) -> Result<Summary, LoadError<V::Error>> {
    pass::Pass::new(source, visitor).run(options)
}

#[cfg(test)]
mod tests;
