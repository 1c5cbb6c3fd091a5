//! A mapped-ram file that several threads write is the one that a single thread writes.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;

use vmferry::channel;
use vmferry::load::{Image, Options, load};
use vmferry::progress::Progress;
use vmferry::save::{self, SaveError};
use vmferry::stream::Writer;
use vmferry::wire::SliceSource;

fn machine() -> Image {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let packed = std::fs::read(folder.join("10.0-q35-vmem.stream.zst")).expect("it is there");
    let stream = zstd::decode_all(&*packed).expect("a golden stream is a zstd frame");
    let mut image = Image::default();
    load(
        &mut SliceSource::new(&stream),
        &mut image,
        &Options::default(),
    )
    .expect("it is whole");
    image
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("there is at least one")
}

#[test]
fn the_number_of_threads_changes_nothing_in_the_file() {
    let image = machine();
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one");
    let mut writer = Writer::new(channel::File::create(&one).unwrap());
    save::mapped_ram(&mut writer, &image.state, &image, &Progress::default()).unwrap();
    writer.close().unwrap();
    let expected = std::fs::read(&one).unwrap();
    for count in [1, 2, 7] {
        let path = folder.path().join(count.to_string());
        let file = File::create(&path).unwrap();
        let progress = Progress::default();
        let state = &image.state;
        save::mapped_ram_parallel(&file, 0, threads(count), state, &image, &progress).unwrap();
        assert!(progress.sent() > 1000, "{progress:?}");
        assert!(std::fs::read(&path).unwrap() == expected, "{count} threads");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_that_says_why() {
    let image = machine();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"").unwrap();
    let read_only = File::open(&path).unwrap();
    let state = &image.state;
    let error = save::mapped_ram_parallel(
        &read_only,
        0,
        threads(3),
        state,
        &image,
        &Progress::default(),
    );
    let Err(SaveError::Send(error)) = error else {
        panic!("{error:?}");
    };
    assert!(
        !error.to_string().contains("closed"),
        "the cause is told: {error}"
    );
}
