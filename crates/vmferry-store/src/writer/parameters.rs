//! What the threads of a save are given.

use std::sync::Arc;

use super::known::KnownPages;
use super::progress::Progress;
use crate::backend::Session;
use crate::digest::Keys;

/// How a save is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters {
    pub(super) page_size: u32,
    pub(super) frame_pages: u32,
    pub(super) zstd_level: i32,
    pub(super) pack_bytes: u64,
    pub(super) workers: usize,
}

/// What a pipeline needs that others have, too.
pub(super) struct Surroundings {
    pub(super) session: Arc<dyn Session>,
    pub(super) keys: Arc<Keys>,
    pub(super) known: Arc<dyn KnownPages>,
    pub(super) progress: Arc<Progress>,
}
