//! The store file, `vmferry-store.json`: which store this is, its key, and defaults for saves.
//!
//! The invariant: a damaged key is found out here, and not as damage in every other file.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Keys, StoreKey, differ};
use crate::error::StoreError;
use crate::features::{FORMAT_VERSION, Features, SIDECARS};
use crate::hex::{from_hex, to_hex};
use crate::limits::{MAX_CONFIG_BYTES, MAX_FRAME_BYTES};
use crate::name::STORE_FILE;
use crate::random::{RandomError, random_bytes};

const FORMAT: &str = "vmferry-store";
const ALGORITHM: &str = "blake3-keyed";

/// What a store is.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// 32 hex digits; tells stores apart.
    pub store_id: String,
    /// The key that all digests are derived from.
    pub key: StoreKey,
    /// For saves that do not say otherwise.
    pub defaults: Defaults,
}

/// How saves are stored unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Zstandard's compression level.
    pub zstd_level: i32,
    /// Bytes of pages in a frame.
    pub frame_bytes: u32,
    /// Bytes at which a pack is closed and another begun.
    pub pack_bytes: u64,
}

impl Default for Defaults {
    /// Measured: `docs/decisions/2026-11-23-store-sizes.md`.
    fn default() -> Self {
        Self {
            zstd_level: 1,
            frame_bytes: 64 << 10,
            pack_bytes: 128 << 20,
        }
    }
}

impl Defaults {
    /// The nearest values that the format allows.
    #[must_use]
    pub(crate) fn clamped(self) -> Self {
        Self {
            zstd_level: self.zstd_level.clamp(-7, 19),
            frame_bytes: self.frame_bytes.clamp(1 << 10, MAX_FRAME_BYTES),
            pack_bytes: self.pack_bytes.clamp(1 << 10, 4 << 30),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    version: u64,
    features: Features,
    store_id: String,
    digest: KeyPart,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    key_slots: Vec<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct KeyPart {
    algorithm: String,
    key: String,
    check: Digest,
}

/// The part of the file that every version has.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
    features: Features,
}

impl StoreConfig {
    /// A new store with a random id and key.
    ///
    /// # Errors
    /// The system's random source cannot be read.
    pub fn generate(defaults: Defaults) -> Result<Self, RandomError> {
        Ok(Self {
            store_id: to_hex(&random_bytes::<16>()?),
            key: StoreKey::random()?,
            defaults,
        })
    }

    /// The keys derived from the store's key.
    pub fn keys(&self) -> Keys {
        Keys::derive(&self.key)
    }

    /// The store file's content.
    ///
    /// # Errors
    /// Never in practice: the values are all representable.
    pub fn to_json(&self) -> Result<Vec<u8>, StoreError> {
        let file = File {
            format: FORMAT.into(),
            version: FORMAT_VERSION,
            features: Features::of_store(),
            store_id: self.store_id.clone(),
            digest: KeyPart {
                algorithm: ALGORITHM.into(),
                key: self.key.to_hex(),
                check: self.keys().check(&self.store_id),
            },
            defaults: self.defaults,
            key_slots: Vec::new(),
        };
        let mut json = serde_json::to_vec_pretty(&file)
            .map_err(|_| StoreError::Unreachable("a store file could not be written as JSON"))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads a store file's content.
    ///
    /// # Errors
    /// It is not a store file, is of a draft or of a newer version of the format, has unknown features, or is
    /// damaged.
    pub fn parse(json: &[u8]) -> Result<Self, StoreError> {
        if json.len() as u64 > MAX_CONFIG_BYTES {
            return Err(bad("size", "at most 1 MiB", json.len()));
        }
        let head: Head = serde_json::from_slice(json)
            .map_err(|error| bad("JSON", "a vmferry store file", error))?;
        if head.format != FORMAT {
            return Err(bad("format", FORMAT, head.format));
        }
        head.features.admit(STORE_FILE, head.version)?;
        if !head.features.required.iter().any(|name| name == SIDECARS) {
            return Err(StoreError::DraftFormat {
                file: STORE_FILE.into(),
            });
        }
        let file: File = serde_json::from_slice(json)
            .map_err(|error| bad("JSON", "the members of version 1", error))?;
        if file.digest.algorithm != ALGORITHM {
            return Err(bad("digest.algorithm", ALGORITHM, file.digest.algorithm));
        }
        if !file.key_slots.is_empty() {
            return Err(bad("key_slots", "none", file.key_slots.len()));
        }
        let key = from_hex(&file.digest.key)
            .map(StoreKey::from_bytes)
            .map_err(|_| bad("digest.key", "64 hex digits", "something else"))?;
        let config = Self {
            store_id: file.store_id,
            key,
            defaults: file.defaults,
        };
        if differ(file.digest.check, config.keys().check(&config.store_id)) {
            return Err(bad(
                "digest.check",
                "the digest of store_id under digest.key",
                "another; restore this file from a backup of the store",
            ));
        }
        Ok(config)
    }
}

fn bad(
    what: &'static str,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> StoreError {
    StoreError::damaged(STORE_FILE, what, expected, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_file_is_read_as_it_was_written() {
        let written = StoreConfig::generate(Defaults::default()).unwrap();
        let read = StoreConfig::parse(&written.to_json().unwrap()).unwrap();
        assert_eq!(read.store_id, written.store_id);
        assert_eq!(read.key, written.key);
        assert_eq!(read.defaults, written.defaults);
    }

    #[test]
    fn a_changed_byte_is_an_error_or_changes_neither_id_nor_key() {
        let written = StoreConfig::generate(Defaults::default()).unwrap();
        let json = written.to_json().unwrap();
        for at in 0..json.len() {
            let mut json = json.clone();
            json[at] ^= 1;
            if let Ok(read) = StoreConfig::parse(&json) {
                assert_eq!(read.store_id, written.store_id, "byte {at}");
                assert_eq!(read.key, written.key, "byte {at}");
            }
        }
    }

    #[test]
    fn a_cut_off_store_file_is_an_error() {
        let json = StoreConfig::generate(Defaults::default())
            .unwrap()
            .to_json()
            .unwrap();
        let end = json.len() - 1;
        for len in 0..end {
            assert!(StoreConfig::parse(&json[..len]).is_err(), "{len} bytes");
        }
    }
}
