//! The thread that answers requests.

use super::fill::{Group, Sent};
use super::link::Side;
use super::opening::DEVICES_LOADED;
use super::{Job, PostcopyError};
use crate::error::Error;
use crate::ram::{BlockIndex, PageIndex, PageSource};
use crate::save::Outgoing;
use crate::wire::Source;
use crate::wire::return_path::Message;

impl<P: PageSource, W: Outgoing> Job<'_, P, W> {
    /// Answers requests until the destination says that it is done, or something fails.
    pub(super) fn answer<R>(&self, rx: &mut R) -> Result<(), PostcopyError<P::Error>>
    where
        R: Source<Error: Into<Error>>,
    {
        let _closing = self.link.close_on_panic(Side::Demand, self.abort);
        let mut asked = None;
        let mut group = Group::default();
        loop {
            let message = Message::decode(rx);
            let message = message.map_err(|error| PostcopyError::ReturnPath(error.into()));
            // From here on the fill stands back, until the answer is out or the link is closed: it
            // must not end the stream while a page is claimed and not sent.
            let _announced = self.link.announce();
            let done = message.and_then(|message| match message {
                Message::ReqPages {
                    block,
                    start,
                    length,
                } => {
                    self.progress.add_request();
                    let pages = self.requested(&mut asked, block, start, length)?;
                    self.answer_one(pages, &mut group).map(|()| false)
                }
                Message::Pong(DEVICES_LOADED) => {
                    self.link.devices_are_loaded();
                    Ok(false)
                }
                Message::Shut(0) => Ok(true),
                Message::Shut(status) => Err(PostcopyError::Failed(status)),
                // Answers to what we do not send, and a notice that concerns no one here.
                _ => Ok(false),
            });
            match done {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(error) => {
                    self.link.fail(Side::Demand, self.abort);
                    return Err(error);
                }
            }
        }
    }

    /// The host page that a request is about.
    fn requested(
        &self,
        asked: &mut Option<BlockIndex>,
        block: Option<String>,
        start: u64,
        length: u32,
    ) -> Result<(BlockIndex, PageIndex), PostcopyError<P::Error>> {
        let refuse = |block: Option<String>, why| PostcopyError::Request {
            block: block.unwrap_or_default(),
            start,
            length,
            why,
        };
        if let Some(name) = block {
            match self.source.blocks().find(&name) {
                Some(index) => *asked = Some(index),
                None => return Err(refuse(Some(name), "the machine has no such block")),
            }
        }
        let Some(index) = *asked else {
            return Err(refuse(None, "no block has been named before"));
        };
        let found = self.source.blocks().get(index);
        let name = || found.map(|block| block.idstr.clone());
        let host_page = self.claims.host_page_bytes(index);
        if start % host_page != 0 || u64::from(length) != host_page {
            return Err(refuse(name(), "not one host page of the block"));
        }
        if start >= found.map_or(0, |block| block.used_length) {
            return Err(refuse(name(), "behind the end of the block"));
        }
        Ok((index, PageIndex(start >> self.source.page_size().bits())))
    }

    fn answer_one(
        &self,
        (block, page): (BlockIndex, PageIndex),
        group: &mut Group,
    ) -> Result<(), PostcopyError<P::Error>> {
        if self.claims.is_taken(block, page) {
            // It has been sent, or is being sent at this moment.
            return Ok(());
        }
        self.observer.requested(block, page);
        if let Sent::Pages(count) = self.send_group(block, page, group, Side::Demand)? {
            self.progress.add_on_demand(count);
        }
        self.observer.answered();
        Ok(())
    }
}
