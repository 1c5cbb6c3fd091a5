//! The store in `testdata/store-v1`, which the first version of the format wrote, is read by every
//! later one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Machine, files, open};
use vmferry_store::backend::DirBackend;
use vmferry_store::config::StoreConfig;
use vmferry_store::digest::StoreKey;
use vmferry_store::manifest::{
    BlockDevice, BlockNode, Endianness, Machine as MachineRecord, SaveMode, SaveRecord,
};
use vmferry_store::{CheckpointName, Defaults, Details, SaveOptions, Store};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/store-v1")
}

fn details() -> Details {
    Details {
        created: Some("2026-11-23T12:00:00.5Z".parse().unwrap()),
        machine: MachineRecord {
            name: Some("golden".into()),
            qemu_version: Some("10.0.2".into()),
            architecture: Some("x86_64".into()),
            endianness: Some(Endianness::Little),
            run_state: Some("running".into()),
            command_line: vec!["qemu-system-x86_64".into(), "-m".into(), "24K".into()],
            cwd: Some("/srv".into()),
            ..MachineRecord::default()
        },
        block_devices: vec![BlockDevice {
            device: "drive0".into(),
            node: Some("node0".into()),
            file: Some("/srv/disk.qcow2".into()),
            format: Some("qcow2".into()),
            read_only: Some(false),
            nodes: vec![BlockNode {
                node: "node0".into(),
                driver: Some("qcow2".into()),
                file: Some("/srv/disk.qcow2".into()),
            }],
            ..BlockDevice::default()
        }],
        save: SaveRecord {
            mode: Some(SaveMode::Snapshot),
            tool: Some("vmferry 0.1.0".into()),
            pause_us: Some(1234),
            duration_us: Some(56789),
        },
        warnings: vec!["not a real machine".into()],
        ..Details::default()
    }
}

/// Makes `testdata/store-v1`:
/// `cargo test -p vmferry-store --test golden -- --ignored make_the_golden_store`
#[test]
#[ignore = "writes testdata; to be run by hand, once for each version of the format"]
fn make_the_golden_store() {
    let path = golden();
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    let config = StoreConfig {
        store_id: "00112233445566778899aabbccddeeff".into(),
        key: StoreKey::from_bytes([0x5a; 32]),
        defaults: Defaults {
            frame_bytes: 4096,
            pack_bytes: 3000,
            ..Defaults::default()
        },
    };
    let store = Store::create_with(DirBackend::new(&path), &config).unwrap();
    let begun = "2026-11-23T12:00:00Z".parse().unwrap();
    let options = SaveOptions::default().begun(begun);
    let mut writer = store.save("golden".parse().unwrap(), &options).unwrap();
    Machine::small().feed(&mut writer).unwrap();
    writer.publish(details()).unwrap();
}

fn name(store: &Store) -> CheckpointName {
    store.resolve(&"golden@latest".parse().unwrap()).unwrap()
}

#[test]
fn a_store_of_format_version_1_is_read() {
    let store = Store::open(golden()).unwrap();
    let checkpoint = open(&store, &name(&store)).unwrap();
    Machine::small().check(&checkpoint).unwrap();
    let report = checkpoint.verify();
    assert!(report.is_sound(), "{:?}", report.damages);
    let (manifest, expected) = (checkpoint.manifest(), details());
    assert_eq!(Some(manifest.created), expected.created);
    assert_eq!(manifest.block_devices, expected.block_devices);
    assert_eq!(manifest.save, expected.save);
    assert_eq!(manifest.warnings, expected.warnings);
    assert_eq!(manifest.machine.command_line, expected.machine.command_line);
    assert_eq!(
        manifest.machine.machine_type.as_deref(),
        Some("pc-q35-10.0")
    );
    assert!(manifest.packs.len() > 1);
}

#[test]
fn a_store_of_format_version_1_is_written_to() {
    let directory = tempfile::tempdir().unwrap();
    for file in files(&golden()) {
        let copy = directory.path().join(&file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(golden().join(&file), copy).unwrap();
    }
    let store = Store::open(directory.path()).unwrap();
    let old = name(&store);
    let new = Machine::small().save(&store, "golden").unwrap();
    Machine::small()
        .check(&open(&store, &new.name()).unwrap())
        .unwrap();
    store.delete(&old).unwrap();
    Machine::small()
        .check(&open(&store, &new.name()).unwrap())
        .unwrap();
    assert!(store.sweep().unwrap().unreadable.is_empty());
}
