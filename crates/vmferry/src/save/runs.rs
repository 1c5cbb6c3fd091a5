//! Runs of neighbouring pages on their way to places of a file.

use crate::error::Error;

/// Where runs of neighbouring pages go.
pub(super) trait Runs {
    /// Writes all of `bytes` at this place of the file, or has it written; `bytes` is empty then.
    fn put(&mut self, bytes: &mut Vec<u8>, at: u64) -> Result<(), Error>;
}
