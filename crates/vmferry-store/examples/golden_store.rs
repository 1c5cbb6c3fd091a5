//! Makes `testdata/store-v1`: by hand, once for each version of the format.
//!
//! `cargo run -p vmferry-store --example golden_store -- NEW-DIRECTORY`

#[path = "../tests/common/mod.rs"]
mod common;

use common::Machine;
use common::golden::details;
use vmferry_store::backend::DirBackend;
use vmferry_store::config::StoreConfig;
use vmferry_store::digest::StoreKey;
use vmferry_store::{Defaults, SaveOptions, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which directory?")?;
    let config = StoreConfig {
        store_id: "00112233445566778899aabbccddeeff".into(),
        key: StoreKey::from_bytes([0x5a; 32]),
        defaults: Defaults {
            frame_bytes: 4096,
            pack_bytes: 3000,
            ..Defaults::default()
        },
    };
    let store = Store::create_with(DirBackend::new(path), &config)?;
    let options = SaveOptions::default().begun("2026-11-23T12:00:00Z".parse()?);
    let mut writer = store.save("golden".parse()?, &options)?;
    Machine::small().feed(&mut writer)?;
    writer.publish(details())?;
    Ok(())
}
