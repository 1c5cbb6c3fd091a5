//! Names of objects: what a manifest refers to.
//!
//! They are the same in every kind of store.

use std::fmt;

use crate::digest::Digest;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// Compressed pages.
    Pack,
    /// Where pages are.
    Map,
    /// Device state.
    State,
}

impl ObjectKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Pack, Self::Map, Self::State];

    /// The directory of objects of this kind, relative to the store.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Pack => "packs",
            Self::Map => "maps",
            Self::State => "states",
        }
    }

    /// What the names of such objects end in.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Map => "map",
            Self::State => "state",
        }
    }
}

/// Names one object of a store; shown as its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// What it is.
    pub kind: ObjectKind,
    /// The digest of its tail.
    pub digest: Digest,
}

impl ObjectName {
    /// The file's name in its directory.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.digest, self.kind.extension())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.directory(), self.file_name())
    }
}
