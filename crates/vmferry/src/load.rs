//! Reading a migration stream: one pass over it, shown to a [`Visitor`].

use crate::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};

/// Where in the stream a device section stands, which decides where it must stand when it is sent
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before any RAM page (`…/virtio-mem-device-early`): the destination needs it to place them.
    Early,
    /// After RAM: every other device.
    Device,
}

/// How the end of a device section was found; the stream itself does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// From the sizes in the trailing description (vmdesc): certain.
    Vmdesc,
    /// By looking for the section's footer before something that can start an element: a guess.
    Footer,
}

/// One device's state: a FULL section.
#[derive(Debug, Clone, Copy)]
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
    /// How its end was found.
    pub split: Split,
    /// The payload alone.
    pub payload: &'a [u8],
    /// The whole element, from its type byte to the end of its footer (where the stream has
    /// footers): what a replay sends.
    pub element: &'a [u8],
    /// Offset in the stream, in bytes, of the element's first byte.
    pub offset: u64,
}

/// The machine as the stream's configuration element tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Canonical machine type, `pc-q35-10.0`; never the alias.
    pub machine: String,
    /// Target page bits, where the stream says them (never on x86).
    pub target_page_bits: Option<u32>,
    /// The capabilities that both sides must share, by name.
    pub capabilities: Vec<String>,
    /// The machine's UUID, if it was to be validated.
    pub uuid: Option<[u8; 16]>,
    /// The whole element as it stood in the stream.
    pub element: Vec<u8>,
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
