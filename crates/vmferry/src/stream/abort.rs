//! Ending a stream from another thread.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::channel::Shutdown;

/// Ends a stream from another thread: blocked calls return, and the stream's first error is
/// [`ErrorKind::Aborted`](super::ErrorKind::Aborted).
#[derive(Clone)]
pub struct AbortHandle {
    aborted: Arc<AtomicBool>,
    shutdown: Option<Arc<dyn Shutdown>>,
}

impl AbortHandle {
    /// Ends the stream. The error is published before the transport is shut down, so that the
    /// stream's own thread cannot take the end of the transport for the end of the stream.
    ///
    /// # Errors
    /// The transport could not be shut down; the stream ends all the same, at its next call to it.
    #[doc(alias = "qemu_file_shutdown")]
    pub fn abort(&self) -> io::Result<()> {
        self.aborted.store(true, Ordering::Release);
        match &self.shutdown {
            Some(shutdown) => shutdown.shutdown(),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("aborted", &self.aborted)
            .finish_non_exhaustive()
    }
}

/// A stream's side of it, looked at only where the stream calls its channel.
#[derive(Debug, Default)]
pub(super) struct AbortFlag(Arc<AtomicBool>);

impl AbortFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn handle(&self, shutdown: Option<Arc<dyn Shutdown>>) -> AbortHandle {
        AbortHandle {
            aborted: Arc::clone(&self.0),
            shutdown,
        }
    }
}
