//! Makes `testdata/store-v1`: by hand, once for each version of the format.
//!
//! `cargo run -p vmferry-store --example golden_store -- NEW-DIRECTORY`

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::PathBuf;

use common::Machine;
use common::golden::details;
use vmferry_store::backend::DirBackend;
use vmferry_store::config::StoreConfig;
use vmferry_store::digest::StoreKey;
use vmferry_store::{Defaults, SaveOptions, Store};

const ID: &str = "20261123T120000000Z-5eb81b3e";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which directory?")?;
    let path = PathBuf::from(path);
    let config = StoreConfig {
        store_id: "00112233445566778899aabbccddeeff".into(),
        key: StoreKey::from_bytes([0x5a; 32]),
        defaults: Defaults {
            frame_bytes: 4096,
            pack_bytes: 3000,
            ..Defaults::default()
        },
    };
    let store = Store::create_with(std::sync::Arc::new(DirBackend::new(&path)), &config)?;
    let options = SaveOptions::default().begun("2026-11-23T12:00:00Z".parse()?);
    let mut writer = store.save("golden".parse()?, &options)?;
    Machine::small().feed(&mut writer)?;
    let mut manifest = writer.publish(details())?;
    // The id that a save is given is different every time.
    let checkpoints = path.join("checkpoints/golden");
    std::fs::remove_file(checkpoints.join(format!("{}.json", manifest.id)))?;
    manifest.id = ID.parse()?;
    let json = manifest.to_json(&config.keys())?;
    std::fs::write(checkpoints.join(format!("{ID}.json")), json)?;
    Ok(())
}
