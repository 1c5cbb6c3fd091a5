//! Ending a stream from another thread.
//!
//! The order is everything: the error is published *before* the transport is shut down. The other
//! way round, the stream's own thread could see the end of the transport first, and take it for the
//! end of the stream.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use super::{ErrorKind, StreamError};
use crate::channel::Shutdown;

/// Ends a stream from another thread: blocked calls return, and the stream's first error is
/// [`ErrorKind::Aborted`], or what was given as the reason.
///
/// The [default](Self::default) ends no stream; [`and`](Self::and) adds those of another handle.
#[derive(Clone, Default)]
#[doc(alias = "qemu_file_shutdown")]
pub struct AbortHandle {
    cells: Vec<Arc<OnceLock<StreamError>>>,
    shutdowns: Vec<Option<Arc<dyn Shutdown>>>,
}

impl AbortHandle {
    /// Ends the stream.
    ///
    /// # Errors
    /// The transport could not be shut down; the stream ends all the same, at its next call to it.
    pub fn abort(&self) -> io::Result<()> {
        // The stream puts its own position there.
        self.abort_with(StreamError::new(ErrorKind::Aborted, 0))
    }

    /// Ends the stream with `reason` as its error.
    ///
    /// # Errors
    /// The transport could not be shut down; the stream ends all the same, at its next call to it.
    // By value, as every error that is handed over.
    #[allow(clippy::needless_pass_by_value)]
    pub fn abort_with(&self, reason: StreamError) -> io::Result<()> {
        for cell in &self.cells {
            // The first reason stays.
            let _ = cell.set(reason.clone());
        }
        let mut result = Ok(());
        for shutdown in &self.shutdowns {
            let shut = match shutdown {
                Some(shutdown) => shutdown.shutdown(),
                None => Err(io::ErrorKind::Unsupported.into()),
            };
            result = result.and(shut);
        }
        result
    }

    /// A handle that ends the streams of both, say those over the two halves of one channel: all of
    /// them know why before the first transport is shut down.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.cells.extend(other.cells.iter().cloned());
        self.shutdowns.extend(other.shutdowns.iter().cloned());
        self
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("reasons", &self.cells)
            .finish_non_exhaustive()
    }
}

/// A stream's side of it, looked at only where the stream calls its channel.
#[derive(Debug, Default)]
pub(super) struct AbortFlag(Arc<OnceLock<StreamError>>);

impl AbortFlag {
    /// The reason, if somebody has ended the stream, which stands at byte `at`.
    pub(super) fn reason(&self, at: u64) -> Option<StreamError> {
        let reason = self.0.get()?;
        Some(match reason.kind() {
            ErrorKind::Aborted => StreamError::new(ErrorKind::Aborted, at),
            _ => reason.clone(),
        })
    }

    pub(super) fn handle(&self, shutdown: Option<Arc<dyn Shutdown>>) -> AbortHandle {
        AbortHandle {
            cells: vec![Arc::clone(&self.0)],
            shutdowns: vec![shutdown],
        }
    }
}
