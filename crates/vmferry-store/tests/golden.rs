//! The store in `testdata/store-v1`, which the first version of the format wrote, is read by every
//! later one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;

use common::golden::{details, draft, golden};
use common::{Machine, files, open};
use vmferry_store::{CheckpointName, Store, StoreError};

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
    assert_eq!(manifest.labels, expected.labels);
    assert_eq!(manifest.machine.command_line, expected.machine.command_line);
    assert_eq!(
        manifest.machine.machine_type.as_deref(),
        Some("pc-q35-10.0")
    );
    assert!(manifest.packs.len() > 1);
}

#[test]
fn a_store_of_a_draft_of_the_format_is_refused_and_not_called_damaged() {
    let error = Store::open(draft()).unwrap_err();
    assert!(!error.is_damage());
    assert!(matches!(error, StoreError::DraftFormat { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "vmferry-store.json is from a draft of the store format, which this vmferry cannot read: \
         save into a new store"
    );
    // Nor is it taken for a directory in which a store can be made.
    let again = Store::open_or_create(draft()).unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
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
