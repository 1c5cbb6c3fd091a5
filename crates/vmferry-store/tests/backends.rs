//! The backends of this crate in the suite that any backend can run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vmferry_store::backend::{DirBackend, MemoryBackend};
use vmferry_store::conformance;

#[test]
fn a_directory_is_a_backend() {
    // In memory, where there is such a place: nothing here needs a disk, and syncing one thousands of times takes
    // a minute.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.unwrap();
    let next = AtomicUsize::new(0);
    conformance::check(&|| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        Arc::new(DirBackend::new(directory.path().join(number.to_string())))
    });
}

#[test]
fn memory_is_a_backend() {
    conformance::check(&|| Arc::new(MemoryBackend::new()));
}
