//! Debian packages, fetched and unpacked without installing them and without being root.
//!
//! The machine's own `apt` does the work in a private folder with a list of sources of its own, so
//! that signatures and hashes are checked as for any package, while nothing of the machine changes.

mod archive;
mod mirror;

pub(crate) use archive::run;
pub use archive::{Archive, Package, Suite};
pub use mirror::Mirror;
