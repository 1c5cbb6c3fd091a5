//! The names of a store: VMs, checkpoints and objects. Nothing here knows where they are kept.

mod checkpoint;
mod object;

pub use checkpoint::{CheckpointId, CheckpointName, CheckpointRef, NameError, VmName, Which};
pub use object::{ObjectKind, ObjectName};
