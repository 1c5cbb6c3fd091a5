//! Format versions and feature flags: how a store says that it needs a newer reader.
//!
//! The invariant: a file that needs anything unknown here is refused before anything else in it is
//! believed, and the refusal names what is unknown.

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::limits::{MAX_FEATURE_BYTES, MAX_FEATURES};

/// The format version that this crate writes, and the highest that it reads.
pub const FORMAT_VERSION: u64 = 1;

/// A checkpoint may have files next to its manifest, which are deleted with it. Required by every store: a
/// store file without it is from a draft of the format.
pub(crate) const SIDECARS: &str = "sidecars";

/// Features that this crate knows.
const KNOWN: &[&str] = &[SIDECARS];

/// The features that a file uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Features {
    /// A reader that does not know all of these must refuse the file.
    pub(crate) required: Vec<String>,
    /// These may be ignored.
    pub(crate) optional: Vec<String>,
}

impl Features {
    /// Those of a store file.
    pub(crate) fn of_store() -> Self {
        Self {
            required: vec![SIDECARS.into()],
            optional: Vec::new(),
        }
    }

    /// Refuses a `file` of a later version or with required features that are unknown here.
    pub(crate) fn admit(&self, file: &str, version: u64) -> Result<(), StoreError> {
        if version > FORMAT_VERSION {
            return Err(StoreError::NewerVersion {
                file: file.into(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        if version == 0 {
            return Err(StoreError::damaged(file, "format version", "1 or more", 0));
        }
        for list in [&self.required, &self.optional] {
            if list.len() > MAX_FEATURES || list.iter().any(|f| f.len() > MAX_FEATURE_BYTES) {
                return Err(StoreError::damaged(
                    file,
                    "features",
                    "at most 64 names of at most 64 bytes",
                    "more",
                ));
            }
        }
        let unknown: Vec<String> = self
            .required
            .iter()
            .filter(|feature| !KNOWN.contains(&feature.as_str()))
            .cloned()
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(StoreError::UnknownFeature {
            file: file.into(),
            features: unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_and_an_unknown_feature_are_refused_by_name() {
        let features = Features {
            required: vec!["teleport".into()],
            optional: vec!["sparkle".into()],
        };
        assert_eq!(
            features.admit("m.json", 2).unwrap_err().to_string(),
            "m.json has format version 2, this vmferry reads up to 1: use a newer vmferry"
        );
        assert_eq!(
            features.admit("m.json", 1).unwrap_err().to_string(),
            "m.json needs the feature 'teleport', unknown to this vmferry: use a newer vmferry"
        );
        assert!(Features::default().admit("m.json", 1).is_ok());
        assert!(Features::default().admit("m.json", 0).is_err());
    }
}
