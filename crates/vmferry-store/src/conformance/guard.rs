//! Holds and removals: who waits for whom, and what stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Make, content, head, must, pack, publish};
use crate::backend::{Backend, Outcome};
use crate::name::Key;

pub(super) fn check(make: Make<'_>) {
    what_is_held_is_neither_removed_nor_replaced(&*store(make));
    what_replaces_a_file_is_held_like_any_other(&*store(make));
    what_is_not_there_cannot_be_held_or_replaced(&*store(make));
    what_nothing_names_is_discarded(&*store(make));
    nothing_is_published_while_something_is_removed(&*store(make));
    one_removes_at_a_time(&*store(make));
}

/// A store with one checkpoint.
fn store(make: Make<'_>) -> Arc<dyn Backend> {
    let backend = make();
    must(backend.create(&Key::store_file(), b""));
    publish(&*backend, &[(&pack(1), b"pack"), (&head(1), b"old")]);
    backend
}

fn remove(backend: &dyn Backend) -> Outcome {
    must(must(backend.guard().exclusive()).remove(&head(1)))
}

fn replace(backend: &dyn Backend) -> Outcome {
    must(must(backend.guard().exclusive()).replace(&head(1), b"new"))
}

fn what_is_held_is_neither_removed_nor_replaced(backend: &dyn Backend) {
    let first = must(backend.guard().hold(&head(1)));
    let second = must(backend.guard().hold(&head(1)));
    assert!(first.is_some() && second.is_some());
    for hold in [first, second] {
        assert_eq!(remove(backend), Outcome::Held);
        assert_eq!(replace(backend), Outcome::Held);
        assert_eq!(content(backend, &head(1)).as_deref(), Some(&b"old"[..]));
        drop(hold);
    }
    assert_eq!(remove(backend), Outcome::Done);
    assert_eq!(content(backend, &head(1)), None);
}

fn what_replaces_a_file_is_held_like_any_other(backend: &dyn Backend) {
    assert_eq!(replace(backend), Outcome::Done);
    assert_eq!(content(backend, &head(1)).as_deref(), Some(&b"new"[..]));
    let hold = must(backend.guard().hold(&head(1)));
    assert!(hold.is_some());
    assert_eq!(remove(backend), Outcome::Held);
    assert_eq!(replace(backend), Outcome::Held);
    drop(hold);
    assert_eq!(remove(backend), Outcome::Done);
}

fn what_is_not_there_cannot_be_held_or_replaced(backend: &dyn Backend) {
    assert!(must(backend.guard().hold(&head(2))).is_none());
    let mut removal = must(backend.guard().exclusive());
    assert!(removal.replace(&head(2), b"new").is_err());
    drop(removal);
    assert_eq!(content(backend, &head(2)), None);
}

fn what_nothing_names_is_discarded(backend: &dyn Backend) {
    let mut removal = must(backend.guard().exclusive());
    assert_eq!(must(removal.remove(&head(1))), Outcome::Done);
    must(removal.discard(&pack(1)));
    must(removal.discard(&pack(1)));
    must(removal.discard(&pack(2)));
    drop(removal);
    assert_eq!(must(backend.lengths(&[pack(1), head(1)])), [None, None]);
    publish(backend, &[(&pack(1), b"pack"), (&head(1), b"again")]);
    assert_eq!(content(backend, &head(1)).as_deref(), Some(&b"again"[..]));
}

fn nothing_is_published_while_something_is_removed(backend: &dyn Backend) {
    let session = must(backend.begin());
    let removal = must(backend.guard().exclusive());
    thread::scope(|scope| {
        let publishing = scope.spawn(|| session.publish(&[pack(1)], &head(2), b"head"));
        for _ in 0..100 {
            thread::yield_now();
            assert_eq!(content(backend, &head(2)), None);
        }
        drop(removal);
        match publishing.join() {
            Ok(result) => must(result),
            Err(_) => panic!("the thread that publishes panicked"),
        }
    });
    assert_eq!(content(backend, &head(2)).as_deref(), Some(&b"head"[..]));
}

fn one_removes_at_a_time(backend: &dyn Backend) {
    let ended = AtomicBool::new(false);
    let first = must(backend.guard().exclusive());
    thread::scope(|scope| {
        scope.spawn(|| {
            let second = must(backend.guard().exclusive());
            assert!(
                ended.load(Ordering::SeqCst),
                "two removals at the same time"
            );
            drop(second);
        });
        for _ in 0..100 {
            thread::yield_now();
        }
        ended.store(true, Ordering::SeqCst);
        drop(first);
    });
}
