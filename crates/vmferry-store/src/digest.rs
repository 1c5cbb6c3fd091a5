//! BLAKE3 digests under a store's secret key, one derived key for each purpose.
//!
//! The invariant: bytes of one purpose never verify as bytes of another, because each purpose has
//! its own key. A digest is identity and integrity in one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use crate::hex::ParseHexError;
use crate::hex::{from_hex, to_hex};
use crate::random::{RandomError, random_bytes};

/// A keyed BLAKE3 digest; written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_hex(text).map(Self)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Whether bytes that should have the digest `expected` have another one.
///
/// A fuzzer cannot forge digests; so that it gets to see what is behind them, they all match in a build
/// with `--cfg fuzzing`. Nothing else looks at a digest that it should compare.
pub(crate) fn differ(expected: Digest, found: Digest) -> bool {
    expected != found && !cfg!(fuzzing)
}

/// A store's secret key. Shown by nothing but the store file.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKey([u8; 32]);

impl StoreKey {
    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh key from the system's random source.
    ///
    /// # Errors
    /// The system's random source cannot be read.
    pub fn random() -> Result<Self, RandomError> {
        random_bytes().map(Self)
    }

    pub(crate) fn to_hex(&self) -> String {
        to_hex(&self.0)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(…)")
    }
}

/// The keys that are derived from a store key: one for each purpose.
#[derive(Clone)]
pub struct Keys {
    check: [u8; 32],
    page: [u8; 32],
    chunk: [u8; 32],
    object: [u8; 32],
    manifest: [u8; 32],
}

impl Keys {
    /// Derives all keys.
    pub fn derive(key: &StoreKey) -> Self {
        let for_purpose =
            |purpose: &str| blake3::derive_key(&format!("vmferry-store v1 {purpose}"), &key.0);
        Self {
            check: for_purpose("check"),
            page: for_purpose("page"),
            chunk: for_purpose("chunk"),
            object: for_purpose("object"),
            manifest: for_purpose("manifest"),
        }
    }

    /// Digest of a store id: tells a damaged key.
    pub fn check(&self, store_id: &str) -> Digest {
        Digest(*blake3::keyed_hash(&self.check, store_id.as_bytes()).as_bytes())
    }

    /// Digest of a guest page.
    pub fn page(&self, page: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.page, page).as_bytes())
    }

    /// Digest of a direct region, an index chunk or a map chunk.
    pub fn chunk(&self, bytes: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.chunk, bytes).as_bytes())
    }

    /// Digest of an object's region table and footer: its name.
    pub fn object(&self, tail: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.object, tail).as_bytes())
    }

    /// Digest of a manifest, given as parts of one text.
    pub fn manifest<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.manifest);
        for part in parts {
            hasher.update(part);
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_and_read_as_lower_case_hex() {
        let digest = Digest([0xa5; 32]);
        assert_eq!(digest.to_string(), "a5".repeat(32));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("A5".repeat(32).parse::<Digest>().is_err());
        assert!("a5".repeat(31).parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn the_same_bytes_digest_differently_for_each_purpose_and_key() {
        let keys = Keys::derive(&StoreKey([7; 32]));
        let other = Keys::derive(&StoreKey([8; 32]));
        let digests = [
            keys.check("x"),
            keys.page(b"x"),
            keys.chunk(b"x"),
            keys.object(b"x"),
            keys.manifest([&b"x"[..]]),
            other.page(b"x"),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest));
        }
    }

    #[test]
    fn a_key_is_not_shown_in_debug_output() {
        let key = StoreKey([7; 32]);
        assert!(!format!("{key:?} {:?}", Keys::derive(&key)).contains('7'));
    }
}
