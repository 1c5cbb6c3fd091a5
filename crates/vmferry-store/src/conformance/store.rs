//! A store on the backend: as it is, far away, and with any one of its calls failing.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSource};

use super::machine::{PAGES, begin_save, page};
use super::{Make, Tapped, must};
use crate::backend::Backend;
use crate::config::{Defaults, StoreConfig};
use crate::error::StoreError;
use crate::manifest::Manifest;
use crate::name::CheckpointName;
use crate::reader::{Checkpoint, ReadOptions};
use crate::store::Store;
use crate::writer::Details;

/// What is added to every call of a backend that is far away.
const FAR: Duration = Duration::from_millis(20);

/// So that their pages are in several packs.
const SMALL_PACK: u64 = 4000;

pub(super) fn check(make: Make<'_>) {
    checkpoints_come_and_go(&make());
    let far: Arc<dyn Backend> = Arc::new(Tapped::slow(make(), FAR));
    checkpoints_come_and_go(&far);
    opening_costs_as_many_calls_for_few_packs_as_for_many(make);
    a_call_that_fails_fails_a_save_and_nothing_else(make);
    a_call_that_fails_fails_a_removal_and_harms_no_checkpoint(make);
    a_call_that_fails_fails_a_read_and_gives_no_wrong_page(make);
}

fn create(backend: &Arc<dyn Backend>, pack_bytes: u64) -> Store {
    let defaults = Defaults {
        pack_bytes,
        frame_bytes: 2048,
        ..Defaults::default()
    };
    let config = must(StoreConfig::generate(defaults).map_err(StoreError::from));
    must(Store::create_with(Arc::clone(backend), &config))
}

/// A store of small packs.
fn small(backend: &Arc<dyn Backend>) -> Store {
    create(backend, SMALL_PACK)
}

fn save(store: &Store, machine: u64) -> Result<Manifest, StoreError> {
    let writer = begin_save(store, machine)?;
    let labels = [("machine".into(), machine.to_string())].into();
    writer.publish(Details {
        labels,
        ..Details::default()
    })
}

fn open(store: &Store, name: &CheckpointName) -> Result<Checkpoint, StoreError> {
    store.checkpoint(name, ReadOptions::default().workers(NonZeroUsize::MIN))
}

/// Reads everything in every way. What is handed out must be right; errors are returned.
fn read(checkpoint: &Checkpoint, machine: u64) -> Result<(), StoreError> {
    let mut result = checkpoint.device_state().map(|_| ());
    let mut bytes = vec![0; 1024];
    for number in 0..PAGES {
        match checkpoint.page(BlockIndex(0), PageIndex(number), &mut bytes) {
            Ok(kind) => {
                assert_eq!(kind, PageKind::Data);
                assert_eq!(bytes, page(machine, number), "page {number}");
            }
            Err(error) => result = Err(error),
        }
    }
    let mut left: BTreeSet<u64> = (0..PAGES).collect();
    let all = checkpoint.pages(&|_, _| true, &mut |_, number, content| {
        assert!(left.remove(&number.0), "page {} twice", number.0);
        assert!(matches!(content, Page::Data(bytes) if bytes == page(machine, number.0)));
        ControlFlow::Continue(())
    });
    assert!(
        all.is_err() || left.is_empty(),
        "pages {left:?} are not shown"
    );
    let damage = checkpoint.verify().damages.into_iter().next();
    result.and(all).and(match damage {
        Some(damage) => Err(damage),
        None => Ok(()),
    })
}

fn machine_of(manifest: &Manifest) -> u64 {
    let label = manifest.labels.get("machine").map(|label| label.parse());
    match label {
        Some(Ok(machine)) => machine,
        other => panic!("the labels of a checkpoint changed: {other:?}"),
    }
}

/// The machines whose checkpoints are listed, all of which must be whole.
fn machines(store: &Store) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for listed in must(store.list()) {
        let machine = machine_of(&must(listed.manifest));
        must(read(&must(open(store, &listed.name)), machine));
        found.insert(machine);
    }
    found
}

/// A store that saves, deletes and sweeps as if nothing had been, and then holds what it needs and no more.
fn goes_on(store: &Store) {
    let before = machines(store);
    let manifest = must(save(store, 77));
    assert!(machines(store).contains(&77));
    must(store.delete(&manifest.name()));
    must(store.sweep());
    assert_eq!(machines(store), before);
    let mut needed = BTreeSet::new();
    for listed in must(store.list()) {
        needed.extend(must(listed.manifest).objects());
    }
    let objects: BTreeSet<_> = must(store.objects()).into_iter().collect();
    assert_eq!(objects, needed);
}

fn checkpoints_come_and_go(backend: &Arc<dyn Backend>) {
    assert!(matches!(
        Store::with_backend(Arc::clone(backend)),
        Err(StoreError::NotAStore { .. })
    ));
    let store = small(backend);
    let first = must(save(&store, 1));
    assert!(first.packs.len() > 2);
    let second = must(save(&store, 2));
    let again = must(Store::with_backend(Arc::clone(backend)));
    assert_eq!(machines(&again), [1, 2].into());
    let reader = must(open(&again, &first.name()));
    assert!(matches!(
        store.delete(&first.name()),
        Err(StoreError::InUse { .. })
    ));
    drop(reader);
    must(store.delete(&first.name()));
    must(read(&must(open(&store, &second.name())), 2));
    assert!(must(store.sweep()).objects.is_empty());
    must(store.delete(&second.name()));
    assert!(must(store.names()).is_empty() && must(store.objects()).is_empty());
}

fn opening_costs_as_many_calls_for_few_packs_as_for_many(make: Make<'_>) {
    let calls = |pack_bytes| {
        let backend = make();
        let manifest = must(save(&create(&backend, pack_bytes), 1));
        let calls = Arc::new(AtomicUsize::new(0));
        let counting = Tapped::counting(backend, Arc::clone(&calls));
        let store = must(Store::with_backend(Arc::new(counting)));
        calls.store(0, Ordering::Relaxed);
        must(open(&store, &manifest.name()));
        (manifest.packs.len(), calls.load(Ordering::Relaxed))
    };
    let (one, few) = (calls(1 << 20), calls(SMALL_PACK));
    assert!(one.0 == 1 && few.0 > 2);
    assert_eq!(one.1, few.1, "calls for {} packs and for {}", one.0, few.0);
}

/// Runs `operation` on a store with machine 1, again and again, with a later call failing each time, until
/// none fails; shows `check` what it returned, and the store without failures.
fn at_every_call<T>(
    make: Make<'_>,
    operation: impl Fn(&Store, &CheckpointName) -> Result<T, StoreError>,
    check: impl Fn(&Result<T, StoreError>, &Store),
) {
    for at in 0.. {
        let backend = make();
        let sound = small(&backend);
        let name = must(save(&sound, 1)).name();
        let calls = Arc::new(AtomicUsize::new(0));
        // Opening the store is the first call.
        let failing = Tapped::failing(backend, Arc::clone(&calls), at + 1);
        let store = must(Store::with_backend(Arc::new(failing)));
        let result = operation(&store, &name);
        let failed = calls.load(Ordering::Relaxed) > at + 1;
        assert_eq!(result.is_err(), failed, "call {at}");
        drop(store);
        check(&result, &sound);
        if !failed {
            assert!(at > 3, "the operation makes {at} calls");
            return;
        }
    }
}

fn a_call_that_fails_fails_a_save_and_nothing_else(make: Make<'_>) {
    at_every_call(
        make,
        |store, _| save(store, 2),
        |result, store| {
            let expected = match result {
                Ok(_) => [1, 2].into(),
                Err(_) => [1].into(),
            };
            assert_eq!(machines(store), expected);
            assert_eq!(must(store.sweep()).sessions, 0, "a save was left");
            goes_on(store);
        },
    );
}

/// A manifest that cannot be read fails no removal: then no object is removed.
fn all_were_read(unreadable: &[CheckpointName]) -> Result<(), StoreError> {
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(StoreError::Misuse(format!(
        "{unreadable:?} could not be read"
    )))
}

fn a_call_that_fails_fails_a_removal_and_harms_no_checkpoint(make: Make<'_>) {
    at_every_call(
        make,
        |store, name| {
            let second = save(store, 2)?.name();
            all_were_read(&store.delete(name)?.unreadable)?;
            all_were_read(&store.delete(&second)?.unreadable)?;
            all_were_read(&store.sweep()?.unreadable)
        },
        |_, store| {
            assert!(machines(store).is_subset(&[1, 2].into()));
            goes_on(store);
        },
    );
}

fn a_call_that_fails_fails_a_read_and_gives_no_wrong_page(make: Make<'_>) {
    at_every_call(
        make,
        |store, name| read(&open(store, name)?, 1),
        |_, store| assert_eq!(machines(store), [1].into()),
    );
}
