//! What is where in the directory of a store, besides the files that have keys.

use std::path::{Path, PathBuf};

use crate::name::Key;

/// Locked for moments.
pub(super) const LOCK: &str = "lock";
/// Saves in progress, and files that are to be renamed.
pub(super) const TEMPORARY: &str = "tmp";
/// What the names of the leases of saves end in.
pub(super) const LEASE_EXTENSION: &str = ".lease";
/// In the temporary directory: a file that is to replace another one. A sweep removes it.
pub(super) const REPLACEMENT: &str = "replacement";

/// The file of a key.
pub(super) fn path_of(root: &Path, key: &Key) -> PathBuf {
    root.join(key.as_str())
}

/// The name of a file that is to have a key, in the directory of a session.
pub(super) fn staged_name(key: &Key) -> String {
    key.as_str().replace('/', ":")
}
