//! The threads of a save: how they are started, and how the first error of any of them is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::error::StoreError;

/// Starts a thread that can be told from others in `top -H`.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StoreError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|error| StoreError::io("start", "a thread", error))
}

/// What is reported when a thread of the save has panicked.
pub(super) const PANICKED: StoreError = StoreError::Unreachable("a thread of the save panicked");

/// The end of a thread that cannot go on because another one has ended: that one knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended;

/// Why a save has failed. The first error wins: those after it are its consequences.
#[derive(Default)]
pub(super) struct Failure {
    is_set: AtomicBool,
    first: Mutex<Option<StoreError>>,
}

impl Failure {
    /// Reports an error.
    pub(super) fn set(&self, error: StoreError) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_set.swap(true, Ordering::AcqRel) {
            *first = Some(error);
        }
    }

    /// Whether there was an error: there is no need for what the save still does.
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// The first error, for the one caller that reports it.
    pub(super) fn take(&self) -> Option<StoreError> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_reported_once() {
        let failure = Failure::default();
        assert!(!failure.is_set());
        failure.set(StoreError::Misuse("first".into()));
        failure.set(StoreError::Misuse("second".into()));
        assert!(failure.is_set());
        let reported = failure.take().map(|error| error.to_string());
        assert_eq!(reported.as_deref(), Some("first"));
        failure.set(StoreError::Misuse("third".into()));
        assert!(failure.take().is_none() && failure.is_set());
    }
}
