//! Crash consistency: whatever operation is the last one before the process dies, the power fails or
//! the disk is full, the store has its old or its new checkpoints, each of them whole, and goes on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use vmferry::load::Visitor;
use vmferry::machine::{DeviceSection, Phase, Split};
use vmferry::ram::{BlockIndex, PageIndex, PageKind, PageSource};

use crate::backend::DirBackend;
use crate::backend::sim::{SimFiles, Stop};
use crate::config::StoreConfig;
use crate::conformance::machine::{PAGES, begin_save, page};
use crate::digest::Digest;
use crate::{CheckpointName, Defaults, Details, Manifest, ReadOptions, Store, StoreError};

/// Ways in which a power failure at one moment may come out.
const OUTCOMES: u64 = 6;

fn backend(files: &SimFiles) -> DirBackend {
    DirBackend::with_files(PathBuf::from("/store"), Box::new(files.clone()))
}

fn open(files: &SimFiles) -> Result<Store, StoreError> {
    Store::with_backend(Arc::new(backend(files)))
}

fn create(files: &SimFiles) -> Result<Store, StoreError> {
    let defaults = Defaults {
        pack_bytes: 2500,
        frame_bytes: 2048,
        ..Defaults::default()
    };
    Store::create_with(Arc::new(backend(files)), &StoreConfig::generate(defaults)?)
}

fn save(store: &Store, machine: u64) -> Result<Manifest, StoreError> {
    let mut writer = begin_save(store, machine)?;
    writer.device(&DeviceSection {
        section_id: 1,
        idstr: "timer",
        instance_id: 0,
        version_id: 2,
        phase: Phase::Device,
        split: Split::Vmdesc,
        payload: &machine.to_be_bytes(),
        element: &machine.to_be_bytes(),
        offset: 0,
    })?;
    writer.publish(Details::default())
}

/// The machines whose checkpoints are listed, all of which must be whole.
fn machines(store: &Store) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for listed in store.list().unwrap() {
        listed.manifest.unwrap();
        let checkpoint = store
            .checkpoint(&listed.name, ReadOptions::default())
            .unwrap();
        let report = checkpoint.verify();
        assert!(report.is_sound(), "{:?}", report.damages);
        let state = checkpoint.device_state().unwrap();
        let payload = state.devices().next().unwrap().payload;
        let machine = u64::from_be_bytes(payload.try_into().unwrap());
        for number in 0..PAGES {
            let mut bytes = vec![0; 1024];
            let kind = checkpoint.page(BlockIndex(0), PageIndex(number), &mut bytes);
            assert_eq!(kind.unwrap(), PageKind::Data);
            assert_eq!(bytes, page(machine, number));
        }
        found.insert(machine);
    }
    found
}

fn set(machines: &[u64]) -> BTreeSet<u64> {
    machines.iter().copied().collect()
}

/// A store that saves, deletes and sweeps as if nothing had been.
fn goes_on(store: &Store) {
    let before = machines(store);
    let manifest = save(store, 77).unwrap();
    let mut after = before.clone();
    after.insert(77);
    assert_eq!(machines(store), after);
    store.delete(&manifest.name()).unwrap();
    store.sweep().unwrap();
    assert_eq!(machines(store), before);
    let mut needed = BTreeSet::new();
    for listed in store.list().unwrap() {
        needed.extend(listed.manifest.unwrap().objects());
    }
    let objects: BTreeSet<_> = store.objects().unwrap().into_iter().collect();
    assert_eq!(objects, needed);
}

/// As [`goes_on`], with a power failure after a sweep that followed a process's death.
fn outlives_a_sweep_and_a_power_failure(killed: &SimFiles) {
    let store = open(killed).unwrap();
    let before = machines(&store);
    store.sweep().unwrap();
    for seed in 0..OUTCOMES {
        let disk = killed.after_power_failure(seed);
        let store = open(&disk).unwrap();
        assert!(machines(&store).is_subset(&before));
        goes_on(&store);
    }
}

/// Runs `operation` on a copy of `before` again and again, ending it one step later each time, until it
/// is not ended any more; tells `check` what the operation returned and what is left on the disk.
fn at_every_step<T>(
    before: &SimFiles,
    stop: Stop,
    operation: impl Fn(&SimFiles) -> Result<T, StoreError>,
    check: impl Fn(&Result<T, StoreError>, &SimFiles),
) {
    for step in 0.. {
        let files = before.copy();
        files.stop_after(step, stop);
        let result = operation(&files);
        let stopped = files.has_stopped();
        check(&result, &files);
        if !stopped {
            assert!(result.is_ok());
            assert!(step > 3, "the operation ended after {step} steps");
            return;
        }
    }
}

/// The disk as it may be after the process died, and after the power failed.
fn crashed(files: &SimFiles) -> impl Iterator<Item = SimFiles> {
    let killed = [files.after_kill()].into_iter();
    killed.chain((0..OUTCOMES).map(|seed| files.after_power_failure(seed)))
}

fn with_machines(machines: &[u64]) -> (SimFiles, Vec<CheckpointName>) {
    let files = SimFiles::new();
    let store = create(&files).unwrap();
    let saved = machines
        .iter()
        .map(|machine| save(&store, *machine).unwrap().name());
    let names = saved.collect();
    (files, names)
}

#[test]
fn a_crash_while_saving_leaves_the_old_or_the_new_checkpoints() {
    let (before, _) = with_machines(&[1]);
    at_every_step(
        &before,
        Stop::Crash,
        |files| save(&open(files)?, 2),
        |result, files| {
            outlives_a_sweep_and_a_power_failure(&files.after_kill());
            for disk in crashed(files) {
                let store = open(&disk).unwrap();
                let found = machines(&store);
                assert!(
                    found == set(&[1, 2]) || (result.is_err() && found == set(&[1])),
                    "{found:?}"
                );
                goes_on(&store);
            }
        },
    );
}

#[test]
fn a_crash_while_saving_the_same_content_again_leaves_the_first_checkpoint_whole() {
    let (before, _) = with_machines(&[1]);
    at_every_step(
        &before,
        Stop::Crash,
        |files| save(&open(files)?, 1),
        |_, files| {
            outlives_a_sweep_and_a_power_failure(&files.after_kill());
            for disk in crashed(files) {
                let store = open(&disk).unwrap();
                assert_eq!(machines(&store), set(&[1]));
                goes_on(&store);
            }
        },
    );
}

#[test]
fn a_crash_while_deleting_leaves_the_other_checkpoints_whole() {
    let (before, names) = with_machines(&[1, 2, 1]);
    at_every_step(
        &before,
        Stop::Crash,
        |files| {
            let store = open(files)?;
            store.delete(&names[0])?;
            store.delete(&names[1])
        },
        |result, files| {
            outlives_a_sweep_and_a_power_failure(&files.after_kill());
            for disk in crashed(files) {
                let store = open(&disk).unwrap();
                let found = machines(&store);
                assert!(
                    found == set(&[1]) || (result.is_err() && found == set(&[1, 2])),
                    "{found:?}"
                );
                goes_on(&store);
            }
        },
    );
}

#[test]
fn a_crash_while_a_manifest_is_replaced_leaves_the_old_or_the_new_one() {
    let (before, names) = with_machines(&[1, 2]);
    let labels = |files: &SimFiles| open(files).unwrap().inspect(&names[0]).unwrap().labels;
    at_every_step(
        &before,
        Stop::Crash,
        |files| {
            let store = open(files)?;
            let mut manifest = store.inspect(&names[0])?;
            manifest.labels.extend([("new".into(), "yes".into())]);
            store.replace(&manifest)
        },
        |result, files| {
            outlives_a_sweep_and_a_power_failure(&files.after_kill());
            for disk in crashed(files) {
                assert_eq!(machines(&open(&disk).unwrap()), set(&[1, 2]));
                assert!(labels(&disk).len() == 1 || result.is_err());
                goes_on(&open(&disk).unwrap());
            }
        },
    );
}

#[test]
fn the_hold_of_a_reader_outlives_attempts_to_replace_its_manifest() {
    let (files, names) = with_machines(&[1]);
    let store = open(&files).unwrap();
    let mut manifest = store.inspect(&names[0]).unwrap();
    manifest.labels.extend([("new".into(), "yes".into())]);
    let read = |name| store.checkpoint(name, ReadOptions::default());

    let reader = read(&names[0]).unwrap();
    let error = store.replace(&manifest).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    let error = store.delete(&names[0]).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(reader.manifest().labels.is_empty() && reader.verify().is_sound());
    drop(reader);

    let mut more = manifest.clone();
    more.packs[0].digest = Digest::from_bytes([7; 32]);
    let error = store.replace(&more).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(store.inspect(&names[0]).unwrap().labels.is_empty());

    store.replace(&manifest).unwrap();
    let reader = read(&names[0]).unwrap();
    assert_eq!(*reader.manifest(), manifest);
    let error = store.delete(&names[0]).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(reader.verify().is_sound());
    drop(reader);
    goes_on(&store);
}

#[test]
fn a_crash_while_sweeping_leaves_everything_that_is_needed() {
    let (before, names) = with_machines(&[1, 2]);
    // A save that dies just before its manifest appears leaves the most to sweep.
    let mut steps = 0;
    let dirty = loop {
        let files = before.copy();
        files.stop_after(steps, Stop::Crash);
        let result = save(&open(&files).unwrap(), 3);
        let killed = files.after_kill();
        if open(&killed).unwrap().names().unwrap().len() > names.len() || result.is_ok() {
            break before;
        }
        let objects = open(&killed).unwrap().objects().unwrap().len();
        if objects > 2 * 5 {
            break killed;
        }
        steps += 1;
    };
    at_every_step(
        &dirty,
        Stop::Crash,
        |files| open(files)?.sweep(),
        |_, files| {
            for disk in crashed(files) {
                let store = open(&disk).unwrap();
                assert_eq!(machines(&store), set(&[1, 2]));
                goes_on(&store);
            }
        },
    );
}

#[test]
fn a_crash_while_creating_a_store_leaves_none_or_one_that_works() {
    at_every_step(&SimFiles::new(), Stop::Crash, create, |result, files| {
        for disk in crashed(files) {
            let store = match open(&disk) {
                Ok(store) => store,
                Err(StoreError::NotAStore { .. }) => {
                    assert!(result.is_err());
                    create(&disk).unwrap()
                }
                Err(error) => panic!("{error}"),
            };
            goes_on(&store);
        }
    });
}

#[test]
fn a_full_disk_at_any_write_fails_the_save_and_leaves_no_trace_of_it() {
    let (before, _) = with_machines(&[1]);
    at_every_step(
        &before,
        Stop::Full,
        |files| save(&open(files)?, 2),
        |result, files| {
            if let Err(error) = result {
                let StoreError::Io { source, .. } = error else {
                    panic!("{error}");
                };
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                files.resume();
                let store = open(files).unwrap();
                assert_eq!(machines(&store), set(&[1]));
                assert_eq!(
                    store.sweep().unwrap().sessions,
                    0,
                    "temporary files were left"
                );
                goes_on(&store);
            }
        },
    );
}
