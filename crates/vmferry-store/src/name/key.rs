//! Keys: what the files of a store are called, in a directory and in a bucket alike.
//!
//! The invariant: a [`Key`] is a relative path of safe components, so a backend can use it as it is.

use std::fmt;
use std::str::FromStr;

use super::checkpoint::{CheckpointName, NameError};
use super::object::{ObjectKind, ObjectName};
use crate::digest::Digest;

/// The store file.
pub(crate) const STORE_FILE: &str = "vmferry-store.json";

/// A key is also the name of one file, while that is written.
const MAX_KEY_BYTES: usize = 255;
const CHECKPOINTS: &str = "checkpoints";
const MANIFEST: &str = ".json";
const TAGS: &str = ".tags";
const WORKING_SET: &str = ".working-set";

/// Names a file of a store: `packs/<digest>.pack`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// A part of a store that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Manifests and the files next to them.
    Checkpoints,
    /// Objects of one kind.
    Objects(ObjectKind),
}

impl Folder {
    /// All folders.
    pub const ALL: [Self; 4] = [
        Self::Checkpoints,
        Self::Objects(ObjectKind::Pack),
        Self::Objects(ObjectKind::Map),
        Self::Objects(ObjectKind::State),
    ];

    /// The first component of the keys in it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoints => CHECKPOINTS,
            Self::Objects(kind) => kind.directory(),
        }
    }
}

impl Key {
    /// The store file.
    pub fn store_file() -> Self {
        Self(STORE_FILE.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The checkpoint whose manifest this is.
    pub(crate) fn checkpoint(&self) -> Option<CheckpointName> {
        self.of_checkpoint(&[MANIFEST])
    }

    /// The checkpoint next to whose manifest this is.
    pub(crate) fn sidecar_of(&self) -> Option<CheckpointName> {
        self.of_checkpoint(&[TAGS, WORKING_SET])
    }

    fn of_checkpoint(&self, extensions: &[&str]) -> Option<CheckpointName> {
        let (vm, file) = self
            .0
            .strip_prefix(CHECKPOINTS)?
            .strip_prefix('/')?
            .split_once('/')?;
        let id = extensions
            .iter()
            .find_map(|extension| file.strip_suffix(extension))?;
        Some(CheckpointName {
            vm: vm.parse().ok()?,
            id: id.parse().ok()?,
        })
    }

    /// The object that this is.
    pub(crate) fn object(&self) -> Option<ObjectName> {
        let (directory, file) = self.0.split_once('/')?;
        let kind = ObjectKind::ALL
            .into_iter()
            .find(|kind| kind.directory() == directory)?;
        let digest = file.strip_suffix(kind.extension())?.strip_suffix('.')?;
        Some(ObjectName {
            kind,
            digest: Digest::from_str(digest).ok()?,
        })
    }
}

impl CheckpointName {
    /// The checkpoint's manifest.
    pub(crate) fn manifest(&self) -> Key {
        self.file(MANIFEST)
    }

    /// The files next to its manifest that it may have.
    pub(crate) fn sidecars(&self) -> [Key; 2] {
        [TAGS, WORKING_SET].map(|extension| self.file(extension))
    }

    fn file(&self, extension: &str) -> Key {
        Key(format!("{CHECKPOINTS}/{}/{}{extension}", self.vm, self.id))
    }
}

impl ObjectName {
    /// The object's file.
    pub fn key(&self) -> Key {
        Key(self.to_string())
    }
}

impl FromStr for Key {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let safe = |component: &str| {
            !component.is_empty()
                && !component.starts_with('.')
                && component
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
        };
        if text.len() <= MAX_KEY_BYTES && text.split('/').all(safe) {
            return Ok(Self(text.into()));
        }
        Err(NameError::new(
            text,
            "the name of a file of a store",
            "components of A–Z a–z 0–9 . _ + - that do not begin with '.', separated by '/'",
        ))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn no_key_leaves_the_store_or_is_hidden_in_it() {
        for bad in [
            "", "/", "/a", "a/", "a//b", "..", "a/../b", ".a", "a/.b", "a b", "a\0", "ä",
        ] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(256).parse::<Key>().is_err());
    }

    #[test]
    fn the_names_of_a_store_have_keys_and_are_found_again_in_them() {
        let name = CheckpointName {
            vm: "web-1".parse().unwrap(),
            id: "20260101-1".parse().unwrap(),
        };
        assert_eq!(name.manifest(), key("checkpoints/web-1/20260101-1.json"));
        assert_eq!(name.manifest().checkpoint(), Some(name.clone()));
        assert_eq!(name.manifest().sidecar_of(), None);
        for sidecar in name.sidecars() {
            assert_eq!(sidecar.sidecar_of(), Some(name.clone()));
            assert_eq!(sidecar.checkpoint(), None);
        }
        for kind in ObjectKind::ALL {
            let digest = Digest::from_bytes([7; 32]);
            let object = ObjectName { kind, digest };
            assert_eq!(object.key().object(), Some(object));
            assert_eq!(key(object.key().as_str()), object.key());
        }
    }

    #[test]
    fn keys_of_other_files_name_nothing() {
        for other in [
            "packs/notes.txt",
            "packs/00.pack",
            "maps/x/y.map",
            "checkpoints/vm/notes.json",
            "checkpoints/vm/1.json.bak",
            "checkpoints/1.json",
            "vmferry-store.json",
        ] {
            let key = key(other);
            assert_eq!((key.object(), key.checkpoint()), (None, None), "{other}");
        }
    }
}
