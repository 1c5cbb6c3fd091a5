//! The caller's end of a save: pages are gathered in batches.

use vmferry::ram::{BlockIndex, PageIndex};

use super::batch::{Batch, Content, Entry};
use super::parameters::Parameters;
use super::pipeline::{Collected, Pipeline};
use crate::error::StoreError;

/// Pages of a batch, zero or not: where nearly all are zero, a batch need not wait for its pages with
/// content.
const MAX_ENTRIES: usize = 1024;

pub(super) struct Feeder {
    pipeline: Pipeline,
    parameters: Parameters,
    batch: Option<Batch>,
    /// Pages with content since the last batch that ended with a full frame's worth of them: as long as all
    /// pages are new, batches end where frames do, and no page has to move from one to another.
    filled: u32,
}

impl Feeder {
    pub(super) fn new(pipeline: Pipeline, parameters: Parameters) -> Self {
        Self {
            pipeline,
            parameters,
            batch: None,
            filled: 0,
        }
    }

    /// Takes a page of zeros.
    pub(super) fn zero(&mut self, block: BlockIndex, page: PageIndex) -> Result<(), StoreError> {
        let batch = self.batch()?;
        batch.entries.push(Entry {
            block,
            page,
            content: Content::Zero,
        });
        if batch.entries.len() >= MAX_ENTRIES {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes a page with content.
    pub(super) fn data(
        &mut self,
        block: BlockIndex,
        page: PageIndex,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let batch = self.batch()?;
        batch.entries.push(Entry {
            block,
            page,
            content: Content::Data,
        });
        batch.raw.extend_from_slice(bytes);
        let is_long = batch.entries.len() >= MAX_ENTRIES;
        self.filled += 1;
        if self.filled == self.parameters.frame_pages {
            self.filled = 0;
            self.flush()?;
        } else if is_long {
            self.flush()?;
        }
        Ok(())
    }

    /// Gives the blocks these lengths in pages, from the next page on.
    pub(super) fn set_lengths(&mut self, lengths: Vec<u64>) -> Result<(), StoreError> {
        self.flush()?;
        self.batch()?.lengths = Some(lengths);
        Ok(())
    }

    /// Ends the save.
    pub(super) fn finish(mut self) -> Result<Collected, StoreError> {
        self.flush()?;
        self.pipeline.finish()
    }

    /// The batch that is being filled.
    fn batch(&mut self) -> Result<&mut Batch, StoreError> {
        if self.batch.is_none() {
            let mut batch = self.pipeline.batch()?;
            let missing = self.parameters.frame_pages - self.filled;
            let page_bytes = self.parameters.page_size as usize;
            batch.raw.reserve(missing as usize * page_bytes);
            self.batch = Some(batch);
        }
        let batch = self.batch.as_mut();
        batch.ok_or(StoreError::Unreachable("there is no batch to fill"))
    }

    /// Hands on the batch that is being filled.
    fn flush(&mut self) -> Result<(), StoreError> {
        match self.batch.take() {
            Some(batch) if !batch.is_empty() => self.pipeline.submit(batch),
            batch => {
                self.batch = batch;
                Ok(())
            }
        }
    }
}
