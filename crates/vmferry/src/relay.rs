//! Passing a machine on: one stream is written while another is read, in another form or through other channels.
//!
//! [`Forward`] is the [`Visitor`] that does it; [`forward_multifd`] gives one that writes several channels.

use crate::error::Error;
use crate::load::{Origin, Visitor};
use crate::machine::{Configuration, DeviceSection};
use crate::ram::{BlockIndex, Page, PageIndex, PageSize, RamBlocks};
use crate::save::{MultifdOptions, Outgoing, StreamWriter, with_multifd};
use crate::stream::AbortHandle;

/// A visitor that sends on what it is shown, as another stream of the same machine: in another form, or through
/// more channels. [`finish`](Self::finish) writes its end.
///
/// Pages go out as they come, also those that come again: so a machine can be passed on while it runs.
pub struct Forward<'a, K>(StreamWriter<'a, K>);

impl<'a, K: Outgoing> Forward<'a, K> {
    /// Sends on to `sink`, with all pages in it.
    pub fn new(sink: &'a mut K) -> Self {
        Self(StreamWriter::new(sink))
    }

    /// Writes the end, with the description of the devices, if one has come.
    ///
    /// # Errors
    /// It could not be sent.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.0.finish()
    }
}

/// Runs `body` with a visitor that sends what it is shown through several channels: a stream is loaded into
/// it while it comes. After `body`, the end of the stream is written. `failed` makes an error of one that a channel had;
/// for `abort`, see [`multifd`](crate::save::multifd()).
///
/// # Errors
/// What `body` says, or that a channel could not be written.
pub fn forward_multifd<K, W, T, E>(
    main: &mut K,
    channels: &mut [W],
    options: &MultifdOptions,
    abort: &AbortHandle,
    failed: impl Fn(Error) -> E,
    body: impl FnOnce(&mut Forward<'_, K>) -> Result<T, E>,
) -> Result<T, E>
where
    K: Outgoing,
    W: Outgoing + Send,
{
    with_multifd(main, channels, options, abort, &failed, |writer| {
        let mut forward = Forward(writer);
        let done = body(&mut forward)?;
        forward.finish().map_err(&failed)?;
        Ok(done)
    })
}

impl<K: Outgoing> Visitor for Forward<'_, K> {
    type Error = Error;

    fn configuration(&mut self, configuration: &Configuration) -> Result<(), Error> {
        self.0.put_configuration(configuration)
    }

    fn ram_blocks(&mut self, blocks: &RamBlocks, page_size: PageSize) -> Result<(), Error> {
        self.0.put_blocks(blocks, page_size)
    }

    fn page(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        content: Page<'_>,
        _: Origin,
    ) -> Result<(), Error> {
        self.0.put_page(block, page, content)
    }

    fn differences(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        differences: &[u8],
        _: Origin,
    ) -> Result<(), Error> {
        self.0.put_differences(block, page, differences)
    }

    fn device(&mut self, section: &DeviceSection<'_>) -> Result<(), Error> {
        self.0.put_device(section.phase, section.element)
    }

    fn vmdesc(&mut self, json: &[u8]) -> Result<(), Error> {
        self.0.put_vmdesc(json);
        Ok(())
    }
}
