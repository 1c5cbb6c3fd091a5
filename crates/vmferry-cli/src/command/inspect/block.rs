//! What came of a RAM block.

use serde::Serialize;

/// A RAM block.
#[derive(Debug, Serialize)]
pub(super) struct Block {
    pub(super) idstr: String,
    pub(super) used_length: u64,
    /// Pages by their content; a page that came again counts again.
    pub(super) pages: u64,
    pub(super) zero_pages: u64,
    pub(super) data_pages: u64,
    /// How many of them had come before.
    pub(super) repeated_pages: Option<u64>,
    /// Pages that never came.
    pub(super) unsent_pages: Option<u64>,
    /// In which form they came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) encodings: Vec<Encoded>,
}

/// Pages that came in one form.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Encoded {
    pub(super) encoding: String,
    pub(super) pages: u64,
    /// Of their content, in the stream.
    pub(super) bytes: u64,
}
