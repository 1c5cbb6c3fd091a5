//! Names of objects: what a manifest refers to.
//!
//! They are the same in every kind of store.

use std::fmt;
use std::str::FromStr;

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

    /// The object of `kind` in the file `file_name`, if it is the name of one.
    pub(crate) fn from_file_name(kind: ObjectKind, file_name: &str) -> Option<Self> {
        let stem = file_name
            .strip_suffix(kind.extension())?
            .strip_suffix('.')?;
        let digest = Digest::from_str(stem).ok()?;
        Some(Self { kind, digest })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.directory(), self.file_name())
    }
}
