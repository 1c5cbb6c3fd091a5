//! The envelope of a manifest: format, version, features, and a digest over the body as it stands
//! in the file.
//!
//! The body is digested as bytes, before it is parsed: nothing has to be normalised, and no parser
//! sees a body that was not written by somebody with the store's key.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::{Digest, Keys, differ};
use crate::error::StoreError;
use crate::features::{FORMAT_VERSION, Features};
use crate::limits::MAX_MANIFEST_BYTES;

const FORMAT: &str = "vmferry-checkpoint";

#[derive(Serialize)]
struct Written<'a> {
    format: &'a str,
    version: u64,
    features: &'a Features,
    digest: Digest,
    body: &'a RawValue,
}

/// The part that every version has.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
    features: Features,
}

#[derive(Deserialize)]
struct Sealed<'a> {
    digest: Digest,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The envelope around `body`, as bytes.
pub(super) fn seal(body: &impl Serialize, keys: &Keys) -> Result<Vec<u8>, StoreError> {
    let unwritable = |_| StoreError::Unreachable("a manifest could not be written as JSON");
    let features = Features::default();
    let body = serde_json::to_string_pretty(body).map_err(unwritable)?;
    let body = RawValue::from_string(body).map_err(unwritable)?;
    let written = Written {
        format: FORMAT,
        version: FORMAT_VERSION,
        features: &features,
        digest: digest(keys, FORMAT_VERSION, &features, body.get()),
        body: &body,
    };
    let mut json = serde_json::to_vec_pretty(&written).map_err(unwritable)?;
    json.push(b'\n');
    if json.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(StoreError::TooLarge {
            what: "the manifest (bytes)",
            found: json.len() as u64,
            limit: MAX_MANIFEST_BYTES,
        });
    }
    Ok(json)
}

/// The body in an envelope, verified.
pub(super) fn open<T: DeserializeOwned>(
    file: &str,
    json: &[u8],
    keys: &Keys,
) -> Result<T, StoreError> {
    if json.len() as u64 > MAX_MANIFEST_BYTES {
        let found = format!("{} bytes", json.len());
        return Err(StoreError::damaged(file, "size", "at most 16 MiB", found));
    }
    let bad_json = |expected: &'static str| {
        move |error: serde_json::Error| StoreError::damaged(file, "JSON", expected, error)
    };
    let head: Head = serde_json::from_slice(json).map_err(bad_json("a checkpoint's manifest"))?;
    if head.format != FORMAT {
        return Err(StoreError::damaged(file, "format", FORMAT, head.format));
    }
    head.features.admit(file, head.version)?;
    let sealed: Sealed<'_> = serde_json::from_slice(json).map_err(bad_json("digest and body"))?;
    let found = digest(keys, head.version, &head.features, sealed.body.get());
    if differ(sealed.digest, found) {
        return Err(StoreError::damaged(
            file,
            "digest of the manifest",
            sealed.digest,
            found,
        ));
    }
    serde_json::from_str(sealed.body.get()).map_err(bad_json("the members of version 1"))
}

fn digest(keys: &Keys, version: u64, features: &Features, body: &str) -> Digest {
    let mut head = format!("{FORMAT}\n{version}\n");
    for list in [&features.required, &features.optional] {
        for feature in list {
            head.push_str(feature);
            head.push('\n');
        }
        head.push('\n');
    }
    keys.manifest([head.as_bytes(), body.as_bytes()])
}
