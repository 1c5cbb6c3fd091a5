//! Everything that can go wrong with a store, in terms of whose fault it is.
//!
//! A message says which file, at which byte, what was expected and what was found, and what to do
//! where there is something to do. A cause is the error's `source` and is never repeated in its
//! text.

use std::fmt;
use std::io;

use crate::name::{CheckpointName, NameError, VmName};
use crate::random::RandomError;

/// Why an operation on a store did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The environment: a system call failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was being done: `read`, `write`, `sync`, …
        action: &'static str,
        /// To which file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The content of the store: it is not what was written.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// The content of the store: something that a manifest names is not there.
    #[error(
        "{file} is missing, though {named_by} needs it; restore the file from a backup of the store, or delete the checkpoint"
    )]
    Missing {
        /// What is missing, relative to the store.
        file: String,
        /// What names it.
        named_by: String,
    },
    /// The caller named a directory that is no store.
    #[error("{path} is not a vmferry store: it has no vmferry-store.json")]
    NotAStore {
        /// The directory.
        path: String,
    },
    /// The caller wanted to create a store where there already is one, or something else.
    #[error("cannot create a store in {path}: {reason}")]
    CannotCreate {
        /// The directory.
        path: String,
        /// What is in the way.
        reason: String,
    },
    /// The store was written by a later vmferry.
    #[error(
        "{file} has format version {found}, this vmferry reads up to {supported}: use a newer vmferry"
    )]
    NewerVersion {
        /// The file.
        file: String,
        /// Its version.
        found: u64,
        /// The highest version known here.
        supported: u64,
    },
    /// The store was written before version 1 of the format was settled.
    #[error(
        "{file} is from a draft of the store format, which this vmferry cannot read: save into a new store"
    )]
    DraftFormat {
        /// The file.
        file: String,
    },
    /// The store uses a feature that this vmferry does not know.
    #[error(
        "{file} needs {}, unknown to this vmferry: use a newer vmferry",
        quoted("the feature", features)
    )]
    UnknownFeature {
        /// The file.
        file: String,
        /// The features, by name.
        features: Vec<String>,
    },
    /// There are no checkpoints of this VM.
    #[error("there is no checkpoint of '{vm}'; {}", known_vms(known))]
    NoSuchVm {
        /// The VM.
        vm: VmName,
        /// The VMs that have checkpoints.
        known: Vec<VmName>,
    },
    /// The VM has checkpoints, but not this one.
    #[error("'{vm}' has no checkpoint '{id}'; it has {}", joined(candidates))]
    NoSuchCheckpoint {
        /// The VM.
        vm: VmName,
        /// The id or the beginning of one.
        id: String,
        /// The ids that there are.
        candidates: Vec<String>,
    },
    /// The beginning of an id fits several checkpoints.
    #[error(
        "'{vm}@{id}' may be any of {}; give more of the id",
        joined(candidates)
    )]
    Ambiguous {
        /// The VM.
        vm: VmName,
        /// The beginning of an id.
        id: String,
        /// The ids that begin with it.
        candidates: Vec<String>,
    },
    /// The caller gave a name that the store does not take.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The environment: there are no random bytes for a name or a key.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Somebody is restoring from the checkpoint.
    #[error(
        "{checkpoint} is in use: a restore or another reader has it open; try again when it has ended"
    )]
    InUse {
        /// The checkpoint.
        checkpoint: CheckpointName,
    },
    /// What is to be saved is larger than the format allows.
    #[error("{what} is {found}, the store's limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The caller (or the stream behind it) did something that makes no sense.
    #[error("{0}")]
    Misuse(String),
    /// A save went on after it had failed; the first error was returned before.
    #[error("the save has already failed")]
    AlreadyFailed,
    /// Defect in this crate: please report it.
    #[error("internal error, please report it: {0}")]
    Unreachable(&'static str),
}

/// Bytes of a store that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, relative to the store.
    pub file: String,
    /// Offset in the file of what is wrong, where it is known.
    pub offset: Option<u64>,
    /// What was looked at.
    pub what: &'static str,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged", self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset:#x}")?;
        }
        write!(
            f,
            ": {}: expected {}, found {}",
            self.what, self.expected, self.found
        )
    }
}

impl StoreError {
    /// A [`StoreError::Damaged`] without an offset.
    pub fn damaged(
        file: impl fmt::Display,
        what: &'static str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::Damaged(Box::new(Damage {
            file: file.to_string(),
            offset: None,
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        }))
    }

    /// Says where in its file a damage is; leaves other errors alone.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        if let Self::Damaged(damage) = &mut self {
            damage.offset.get_or_insert(offset);
        }
        self
    }

    /// A [`StoreError::Io`].
    pub fn io(action: &'static str, path: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_string(),
            source: source.into(),
        }
    }

    /// A [`StoreError::Missing`].
    pub fn missing(file: impl fmt::Display, named_by: impl fmt::Display) -> Self {
        Self::Missing {
            file: file.to_string(),
            named_by: named_by.to_string(),
        }
    }

    /// Whether this is about the content of the store (as opposed to the environment or the caller).
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Missing { .. })
    }
}

/// `items` separated by commas, or `none`.
fn joined(items: &[String]) -> String {
    if items.is_empty() {
        return "none".into();
    }
    items.join(", ")
}

fn quoted(what: &str, items: &[String]) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|item| format!("{what} '{item}'"))
        .collect();
    joined(&items)
}

fn known_vms(known: &[VmName]) -> String {
    if known.is_empty() {
        return "the store is empty".into();
    }
    let names: Vec<String> = known.iter().map(|vm| format!("'{vm}'")).collect();
    format!("there are checkpoints of {}", joined(&names))
}
