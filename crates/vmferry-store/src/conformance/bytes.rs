//! Files: created, written, published, listed and read.

use std::sync::Arc;

use super::{Make, content, head, key, must, pack, publish};
use crate::backend::{Backend, ReadRange};
use crate::error::StoreError;
use crate::name::{Folder, Key, ObjectKind};

pub(super) fn check(make: Make<'_>) {
    a_store_is_created_once(&*make());
    what_a_save_wrote_appears_when_it_is_published(&*make());
    a_save_that_is_dropped_leaves_nothing(&*make());
    a_head_does_not_appear_without_its_objects(&*make());
    objects_of_other_saves_can_be_named_and_written_again(&make());
    small_files_are_read_up_to_a_limit(&*make());
    any_ranges_are_read_in_one_call(&*make());
    a_range_beyond_the_end_is_an_error(&*make());
    a_folder_lists_its_own_files(&*make());
}

fn sorted(mut keys: Vec<Key>) -> Vec<Key> {
    keys.sort();
    keys
}

fn packs(backend: &dyn Backend) -> Vec<Key> {
    sorted(must(backend.list(Folder::Objects(ObjectKind::Pack))))
}

fn a_store_is_created_once(backend: &dyn Backend) {
    let file = Key::store_file();
    assert_eq!(content(backend, &file), None);
    must(backend.create(&file, b"first"));
    assert!(matches!(
        backend.create(&file, b"second"),
        Err(StoreError::CannotCreate { .. })
    ));
    assert_eq!(content(backend, &file).as_deref(), Some(&b"first"[..]));
    for folder in Folder::ALL {
        assert_eq!(must(backend.list(folder)), []);
    }
}

fn what_a_save_wrote_appears_when_it_is_published(backend: &dyn Backend) {
    must(backend.create(&Key::store_file(), b""));
    let session = must(backend.begin());
    let mut upload = must(session.create());
    must(upload.append(b"con"));
    must(upload.append(b"tent"));
    must(upload.seal(&pack(1)));
    assert_eq!(packs(backend), []);
    assert_eq!(must(backend.lengths(&[pack(1), head(1)])), [None, None]);
    assert!(must(backend.open(&pack(1), 7)).is_none_or(|object| {
        // A backend that is far away does not look before it is read.
        object.read_exact_at(&mut [0], 0).is_err()
    }));
    must(session.publish(&[pack(1)], &head(1), b"head"));
    drop(session);
    assert_eq!(packs(backend), [pack(1)]);
    assert_eq!(must(backend.list(Folder::Checkpoints)), [head(1)]);
    assert_eq!(
        must(backend.lengths(&[head(1), pack(2), pack(1)])),
        [Some(4), None, Some(7)]
    );
    assert_eq!(content(backend, &pack(1)).as_deref(), Some(&b"content"[..]));
    assert_eq!(content(backend, &head(1)).as_deref(), Some(&b"head"[..]));
}

fn a_save_that_is_dropped_leaves_nothing(backend: &dyn Backend) {
    must(backend.create(&Key::store_file(), b""));
    let session = must(backend.begin());
    let mut upload = must(session.create());
    must(upload.append(b"sealed"));
    must(upload.seal(&pack(1)));
    let mut upload = must(session.create());
    must(upload.append(b"abandoned"));
    drop(upload);
    drop(session);
    assert_eq!(packs(backend), []);
    let mut removal = must(backend.guard().exclusive());
    assert_eq!(must(removal.remove_stale_sessions()), 0);
}

fn a_head_does_not_appear_without_its_objects(backend: &dyn Backend) {
    must(backend.create(&Key::store_file(), b""));
    let session = must(backend.begin());
    let mut upload = must(session.create());
    must(upload.append(b"here"));
    must(upload.seal(&pack(1)));
    let result = session.publish(&[pack(1), pack(2)], &head(1), b"head");
    let error = result.err().map(|error| error.to_string());
    let error = error.unwrap_or_default();
    assert!(error.contains(pack(2).as_str()), "{error}");
    assert_eq!(content(backend, &head(1)), None);
}

fn objects_of_other_saves_can_be_named_and_written_again(backend: &Arc<dyn Backend>) {
    let backend = &**backend;
    must(backend.create(&Key::store_file(), b""));
    publish(backend, &[(&pack(1), b"one"), (&head(1), b"head 1")]);
    publish(backend, &[(&pack(1), b"one"), (&head(2), b"head 2")]);
    let session = must(backend.begin());
    must(session.publish(&[pack(1), pack(1)], &head(3), b"head 3"));
    drop(session);
    assert_eq!(packs(backend), [pack(1)]);
    assert_eq!(content(backend, &pack(1)).as_deref(), Some(&b"one"[..]));
    assert_eq!(content(backend, &head(3)).as_deref(), Some(&b"head 3"[..]));
}

fn small_files_are_read_up_to_a_limit(backend: &dyn Backend) {
    must(backend.create(&Key::store_file(), b"12345"));
    let read = |limit| backend.read(&Key::store_file(), limit);
    assert_eq!(must(read(5)).as_deref(), Some(&b"12345"[..]));
    assert!(read(4).is_err_and(|error| error.is_damage()));
    assert_eq!(must(backend.read(&head(1), 5)), None);
}

/// Opens a pack of the bytes 0 to 99.
fn counted(backend: &dyn Backend) -> Box<dyn crate::backend::Object> {
    must(backend.create(&Key::store_file(), b""));
    let bytes: Vec<u8> = (0..100).collect();
    publish(backend, &[(&pack(1), &bytes), (&head(1), b"head")]);
    match must(backend.open(&pack(1), 100)) {
        Some(object) => object,
        None => panic!("what was published is not there"),
    }
}

fn any_ranges_are_read_in_one_call(backend: &dyn Backend) {
    let object = counted(backend);
    assert_eq!(object.length(), 100);
    must(object.read(&mut []));
    let offsets: [(u64, usize); 5] = [(90, 10), (0, 3), (1, 5), (100, 0), (50, 1)];
    let mut buffers = offsets.map(|(_, length)| vec![0xee; length]);
    let mut ranges: Vec<_> = buffers
        .iter_mut()
        .zip(offsets)
        .map(|(buffer, (offset, _))| ReadRange { offset, buffer })
        .collect();
    must(object.read(&mut ranges));
    let all: Vec<u8> = (0..100).collect();
    for (buffer, (offset, length)) in buffers.iter().zip(offsets) {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        assert_eq!(buffer[..], all[from..from + length]);
    }
}

fn a_range_beyond_the_end_is_an_error(backend: &dyn Backend) {
    let object = counted(backend);
    for (offset, length) in [(0, 101), (99, 2), (101, 1), (u64::MAX / 4, 1)] {
        let mut buffer = vec![0; length];
        let result = object.read_exact_at(&mut buffer, offset);
        assert!(
            result.is_err_and(|error| error.is_damage()),
            "{length} bytes at {offset}"
        );
    }
}

fn a_folder_lists_its_own_files(backend: &dyn Backend) {
    must(backend.create(&Key::store_file(), b""));
    let map = key(&format!("maps/{}.map", "07".repeat(32)));
    let other = key("checkpoints/other/1.json");
    publish(
        backend,
        &[
            (&pack(1), b"1"),
            (&pack(2), b"2"),
            (&map, b"m"),
            (&head(1), b"h"),
        ],
    );
    publish(backend, &[(&pack(2), b"2"), (&other, b"h")]);
    assert_eq!(packs(backend), [pack(1), pack(2)]);
    let maps = must(backend.list(Folder::Objects(ObjectKind::Map)));
    assert_eq!(maps, [map]);
    let states = must(backend.list(Folder::Objects(ObjectKind::State)));
    assert_eq!(states, []);
    let heads = sorted(must(backend.list(Folder::Checkpoints)));
    assert_eq!(heads, sorted(vec![head(1), other]));
}
