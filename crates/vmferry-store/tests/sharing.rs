//! Several saves, readers and deleters of one store at the same time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use common::{Content, Machine, files, noise, open, tiny_store};
use vmferry::ram::{BlockIndex, PageIndex, PageKind, PageSource};
use vmferry_store::{Defaults, Details, SaveOptions, Store, StoreError};

fn machine(seed: u64) -> Machine {
    let mut machine = Machine::small();
    let page = PageIndex(seed % 24);
    machine
        .sent
        .push((BlockIndex(0), page, Content::Noise(seed)));
    machine
}

#[test]
fn saves_that_run_at_the_same_time_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let saved: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|seed| {
                let store = &store;
                scope.spawn(move || {
                    machine(seed)
                        .save(store, &format!("vm{}", seed % 3))
                        .unwrap()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(store.names().unwrap().len(), 8);
    for (seed, manifest) in (0..).zip(saved) {
        machine(seed)
            .check(&open(&store, &manifest.name()).unwrap())
            .unwrap();
    }
}

#[test]
fn equal_pages_of_one_store_are_told_by_their_digests_and_those_of_another_store_are_not() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, elsewhere) = (tiny_store(here.path()), tiny_store(there.path()));
    let saved = |store: &Store, seed| open(store, &machine(seed).save(store, "vm").unwrap().name());
    let (one, other) = (saved(&store, 3).unwrap(), saved(&store, 5).unwrap());
    let foreign = saved(&elsewhere, 3).unwrap();
    assert!(one.has_digests_like(&other) && !one.has_digests_like(&foreign));
    let (mut bytes, mut more) = ([0; 1024], [0; 1024]);
    for (block, ram) in one.blocks().iter() {
        for page in (0..ram.pages(one.page_size())).map(PageIndex) {
            let kinds = (
                one.page(block, page, &mut bytes).unwrap(),
                other.page(block, page, &mut more).unwrap(),
            );
            let same = kinds.0 == kinds.1 && (kinds.0 != PageKind::Data || bytes == more);
            let identities = [&one, &other].map(|c| c.identity(block, page).unwrap());
            assert_eq!(identities[0] == identities[1], same, "{block:?} {page:?}");
        }
    }
}

#[test]
fn the_same_machine_saved_twice_shares_its_objects_and_survives_one_deletion() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let first = Machine::small().save(&store, "vm").unwrap();
    let second = Machine::small().save(&store, "vm").unwrap();
    assert_eq!(first.packs, second.packs);
    let deleted = store.delete(&first.name()).unwrap();
    assert_eq!(deleted.objects, []);
    Machine::small()
        .check(&open(&store, &second.name()).unwrap())
        .unwrap();
    let deleted = store.delete(&second.name()).unwrap();
    assert_eq!(deleted.objects.len(), second.packs.len() + 2);
    assert_eq!(files(directory.path()), ["lock", "vmferry-store.json"]);
}

#[test]
fn a_save_that_is_published_after_a_deletion_of_the_same_content_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let first = Machine::small().save(&store, "vm").unwrap();
    let mut writer = store
        .save("vm".parse().unwrap(), &SaveOptions::default())
        .unwrap();
    Machine::small().feed(&mut writer).unwrap();
    store.delete(&first.name()).unwrap();
    let second = writer.publish(Details::default()).unwrap();
    assert_eq!(first.packs, second.packs);
    Machine::small()
        .check(&open(&store, &second.name()).unwrap())
        .unwrap();
}

#[test]
fn deletions_and_saves_of_the_same_content_in_a_crowd_leave_only_whole_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..15 {
                    Machine::small().save(&store, "vm").unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..60 {
                for name in store.names().unwrap().into_iter().skip(1) {
                    store.delete(&name).unwrap();
                }
                store.sweep().unwrap();
            }
        });
    });
    for name in store.names().unwrap() {
        let checkpoint = open(&store, &name).unwrap();
        Machine::small().check(&checkpoint).unwrap();
        assert!(checkpoint.verify().is_sound());
    }
}

#[test]
fn a_checkpoint_that_is_being_read_cannot_be_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let name = Machine::small().save(&store, "vm").unwrap().name();
    let checkpoint = open(&store, &name).unwrap();
    let error = store.delete(&name).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    Machine::small().check(&checkpoint).unwrap();
    drop(checkpoint);
    store.delete(&name).unwrap();
    assert_eq!(store.names().unwrap(), []);
    let gone = open(&store, &name).err().unwrap();
    assert!(matches!(gone, StoreError::NoSuchVm { .. }), "{gone}");
    assert!(matches!(
        store.delete(&name),
        Err(StoreError::NoSuchVm { .. })
    ));
}

#[test]
fn a_dropped_save_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let before = files(directory.path());
    let mut writer = store
        .save("vm".parse().unwrap(), &SaveOptions::default())
        .unwrap();
    Machine::small().feed(&mut writer).unwrap();
    assert_ne!(files(directory.path()), before);
    drop(writer);
    assert_eq!(files(directory.path()), before);
}

#[test]
fn what_a_dead_save_left_is_removed_by_the_next_one_but_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let temporary = directory.path().join("tmp");
    fs::create_dir(temporary.join("dead")).unwrap();
    fs::write(temporary.join("dead/0.part"), b"x").unwrap();
    fs::write(temporary.join("dead.lease"), b"").unwrap();
    fs::write(temporary.join("stray"), b"").unwrap();
    let mut living = store
        .save("vm".parse().unwrap(), &SaveOptions::default())
        .unwrap();
    Machine::small().feed(&mut living).unwrap();
    assert!(
        !files(directory.path())
            .iter()
            .any(|f| f.contains("dead") || f.contains("stray"))
    );
    let second = machine(1).save(&store, "vm").unwrap();
    let first = living.publish(Details::default()).unwrap();
    machine(1)
        .check(&open(&store, &second.name()).unwrap())
        .unwrap();
    Machine::small()
        .check(&open(&store, &first.name()).unwrap())
        .unwrap();
}

#[test]
fn a_sweep_removes_what_nothing_names_and_counts_dead_saves() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let manifest = Machine::small().save(&store, "vm").unwrap();
    let orphan = format!("{}.pack", "0".repeat(64));
    fs::write(directory.path().join("packs").join(&orphan), b"x").unwrap();
    fs::write(directory.path().join("packs/notes.txt"), b"mine").unwrap();
    fs::write(directory.path().join("tmp/dead.lease"), b"").unwrap();
    let swept = store.sweep().unwrap();
    assert_eq!(swept.objects.len(), 1);
    assert_eq!(swept.objects[0].file_name(), orphan);
    assert_eq!(swept.sessions, 1);
    assert!(directory.path().join("packs/notes.txt").exists());
    Machine::small()
        .check(&open(&store, &manifest.name()).unwrap())
        .unwrap();
}

#[test]
fn the_files_next_to_a_manifest_go_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let first = Machine::small().save(&store, "vm").unwrap();
    let second = Machine::small().save(&store, "vm").unwrap();
    let of_vm = directory.path().join("checkpoints/vm");
    let sidecar = |id: &str, extension| of_vm.join(format!("{id}{extension}"));
    for id in [first.id.as_str(), second.id.as_str(), "20260101-1"] {
        fs::write(sidecar(id, ".tags"), b"{}").unwrap();
        fs::write(sidecar(id, ".working-set"), b"").unwrap();
    }
    fs::write(of_vm.join("notes.tags.txt"), b"mine").unwrap();
    assert_eq!(store.names().unwrap().len(), 2);
    store.delete(&first.name()).unwrap();
    store.sweep().unwrap();
    let json = format!("{}.json", second.id);
    let tags = format!("{}.tags", second.id);
    let working_set = format!("{}.working-set", second.id);
    assert_eq!(
        files(&of_vm),
        [json, tags, working_set, "notes.tags.txt".into()]
    );
    fs::remove_file(of_vm.join("notes.tags.txt")).unwrap();
    store.delete(&second.name()).unwrap();
    assert!(!of_vm.exists());
}

#[test]
fn while_a_manifest_cannot_be_read_no_object_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = tiny_store(directory.path());
    let first = Machine::small().save(&store, "vm").unwrap();
    let second = Machine::small().save(&store, "vm").unwrap();
    let path = directory
        .path()
        .join(format!("checkpoints/vm/{}.json", first.id));
    let json = fs::read(&path).unwrap();
    fs::write(&path, &json[1..]).unwrap();
    let deleted = store.delete(&second.name()).unwrap();
    assert_eq!(
        (deleted.objects.len(), deleted.unreadable),
        (0, vec![first.name()])
    );
    assert_eq!(store.sweep().unwrap().unreadable, [first.name()]);
    fs::write(&path, &json).unwrap();
    Machine::small()
        .check(&open(&store, &first.name()).unwrap())
        .unwrap();
    // One that cannot be read can still be deleted, and the sweep then finds what it named.
    fs::write(&path, b"{}").unwrap();
    store.delete(&first.name()).unwrap();
    assert_eq!(store.sweep().unwrap().objects.len(), first.packs.len() + 2);
    assert_eq!(files(directory.path()), ["lock", "vmferry-store.json"]);
}

#[test]
fn a_store_is_created_only_where_nothing_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    assert!(matches!(
        Store::open(&path),
        Err(StoreError::NotAStore { .. })
    ));
    let first = Store::open_or_create(&path).unwrap();
    let again = Store::open_or_create(&path).unwrap();
    assert_eq!(first.config().store_id, again.config().store_id);
    let error = Store::create(&path, Defaults::default()).unwrap_err();
    assert!(
        error.to_string().contains("there is a store already"),
        "{error}"
    );
    fs::write(directory.path().join("precious"), noise(1, 10)).unwrap();
    let error = Store::create(directory.path(), Defaults::default()).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
}

#[test]
fn a_store_that_many_create_at_once_has_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let ids: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    Store::open_or_create(&path)
                        .unwrap()
                        .config()
                        .store_id
                        .clone()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn nobody_else_can_read_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = tiny_store(&path);
    Machine::small().save(&store, "vm").unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in files(&path) {
        let file = path.join(file);
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{}", file.display());
    }
}
