//! The names of a store: VMs, checkpoints and objects. Nothing here knows where they are kept.

mod checkpoint;
mod key;
mod object;

pub use checkpoint::{CheckpointId, CheckpointName, CheckpointRef, NameError, VmName, Which};
pub(crate) use key::STORE_FILE;
pub use key::{Folder, Key};
pub use object::{ObjectKind, ObjectName};
