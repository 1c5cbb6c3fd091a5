//! A manifest or a store file that is anything at all.

#![no_main]

#[allow(dead_code, reason = "only the golden store itself is used here")]
mod common;

use libfuzzer_sys::fuzz_target;
use vmferry_store::Manifest;
use vmferry_store::config::StoreConfig;
use vmferry_store::digest::{Keys, StoreKey};

fuzz_target!(|bytes: &[u8]| {
    let keys = Keys::derive(&StoreKey::from_bytes([0x5a; 32]));
    let name = &common::golden().name;
    if let Ok(manifest) = Manifest::parse(name, bytes, &keys) {
        let json = manifest
            .to_json(&keys)
            .expect("what was read can be written");
        let again = Manifest::parse(name, &json, &keys).expect("and read again");
        assert_eq!(again, manifest);
        manifest.objects();
    }
    if let Ok(config) = StoreConfig::parse(bytes) {
        config.to_json().expect("what was read can be written");
    }
});
