//! What becomes of pages on their way into packs, and of the threads when something fails.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tempfile::TempDir;
use vmferry::load::Visitor;
use vmferry::ram::{BlockIndex, Page, PageIndex, PageKind, PageSize, PageSource, RamBlock};

use super::known::{KnownPages, Lookup, NothingKnown};
use super::{Details, SaveOptions, Writer};
use crate::backend::{Session, Upload};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::{Manifest, PackRecord};
use crate::map::PageAt;
use crate::name::{CheckpointName, Key};
use crate::pack::Place;
use crate::{Checkpoint, Defaults, PageIdentity, ReadOptions, Store};

const PAGES: u64 = 300;

/// What is sent: seed 0 is a page of zeros, any other one a page of noise.
type Sent = Vec<(u64, u64)>;

fn content(seed: u64) -> [u8; 1024] {
    let mut page = [0; 1024];
    if seed != 0 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut page);
    }
    page
}

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let defaults = Defaults {
        zstd_level: 1,
        frame_bytes: 4096,
        pack_bytes: 20_000,
    };
    let store = Store::create(directory.path(), defaults).unwrap();
    (directory, store)
}

fn options(workers: usize) -> SaveOptions {
    SaveOptions::default().workers(NonZeroUsize::new(workers).unwrap())
}

fn feed(writer: &mut Writer, sent: &Sent) -> Result<(), StoreError> {
    let block = RamBlock {
        idstr: "pc.ram".into(),
        used_length: PAGES * 1024,
        host_page_size: None,
    };
    writer.ram_blocks(&[block].into_iter().collect(), PageSize::MIN)?;
    for (page, seed) in sent {
        writer.put(BlockIndex(0), PageIndex(*page), Page::Data(&content(*seed)))?;
    }
    Ok(())
}

fn save(store: &Store, workers: usize, sent: &Sent, known: Arc<dyn KnownPages>) -> Manifest {
    let vm = "vm".parse().unwrap();
    let mut writer = store.save_with(vm, &options(workers), known).unwrap();
    feed(&mut writer, sent).unwrap();
    writer.publish(Details::default()).unwrap()
}

fn open(store: &Store, name: &CheckpointName) -> Checkpoint {
    store.checkpoint(name, ReadOptions::default()).unwrap()
}

/// The checkpoint is whole, and holds the last of what was sent for each page.
fn check(store: &Store, manifest: &Manifest, sent: &Sent) {
    let checkpoint = open(store, &manifest.name());
    let report = checkpoint.verify();
    assert!(report.is_sound(), "{:?}", report.damages);
    let expected: HashMap<u64, u64> = sent.iter().copied().collect();
    let mut bytes = [0; 1024];
    for page in 0..PAGES {
        let kind = checkpoint.page(BlockIndex(0), PageIndex(page), &mut bytes);
        match expected.get(&page) {
            None => assert_eq!(kind.unwrap(), PageKind::Absent),
            Some(0) => assert_eq!(kind.unwrap(), PageKind::Zero),
            Some(seed) => {
                assert_eq!(kind.unwrap(), PageKind::Data);
                assert_eq!(bytes, content(*seed), "page {page}");
            }
        }
    }
}

/// The pages of a checkpoint, found by their content.
struct Parent {
    packs: Vec<PackRecord>,
    places: HashMap<Digest, Place>,
    asked: AtomicU64,
}

impl Parent {
    fn of(store: &Store, manifest: &Manifest) -> Arc<Self> {
        let checkpoint = open(store, &manifest.name());
        let mut places = HashMap::new();
        for page in (0..PAGES).map(PageIndex) {
            let identity = checkpoint.identity(BlockIndex(0), page).unwrap();
            let place = checkpoint.place(BlockIndex(0), page).unwrap();
            if let (PageIdentity::Data(digest), PageAt::Stored(place)) = (identity, place) {
                places.insert(digest, place);
            }
        }
        Arc::new(Self {
            packs: manifest.packs.clone(),
            places,
            asked: AtomicU64::new(0),
        })
    }
}

impl KnownPages for Parent {
    fn look_up(&self, _: BlockIndex, _: PageIndex, digest: &Digest) -> Lookup {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let place = self.places.get(digest);
        place.map_or(Lookup::New, |place| Lookup::Known(*place))
    }

    fn packs(&self) -> &[PackRecord] {
        &self.packs
    }
}

/// Every page with a content of its own, but for every seventh, which is zero.
fn first_save() -> Sent {
    let seed = |page| if page % 7 == 0 { 0 } else { page + 1 };
    (0..PAGES).map(|page| (page, seed(page))).collect()
}

#[test]
fn a_page_that_is_known_gets_no_frame_and_is_read_from_the_pack_that_has_it() {
    let (_directory, store) = store();
    let sent = first_save();
    let first = save(&store, 2, &sent, Arc::new(NothingKnown));
    check(&store, &first, &sent);
    // The machine ran on, and changed 20 pages.
    let mut later = sent.clone();
    for page in 0..20 {
        later[page * 11 + 1].1 = 10_000 + page as u64;
    }
    let parent = Parent::of(&store, &first);
    let second = save(&store, 2, &later, parent.clone());
    check(&store, &second, &later);
    // A page of zeros is not looked up.
    let with_content = later.iter().filter(|(_, seed)| *seed != 0).count() as u64;
    assert_eq!(parent.asked.load(Ordering::Relaxed), with_content);
    assert_eq!(second.statistics.pages_stored, 20);
    assert_eq!(second.statistics.pages_dead, 0);
    // Its own packs come first, of full frames; then those of the first that it needs.
    let own = second.packs.len() - first.packs.len();
    let frames: u64 = second.packs[..own].iter().map(|pack| pack.frames).sum();
    assert_eq!(frames, 5);
    assert!(
        first
            .packs
            .iter()
            .all(|pack| second.packs[own..].contains(pack))
    );
    // A third of the same pages refers to both, and has no pack of its own.
    let third = save(&store, 2, &later, Parent::of(&store, &second));
    check(&store, &third, &later);
    assert_eq!(third.statistics.pages_stored, 0);
    assert_eq!(third.packs.len(), second.packs.len());
    // What the later ones need outlives the first.
    store.delete(&first.name()).unwrap();
    check(&store, &second, &later);
    store.delete(&second.name()).unwrap();
    check(&store, &third, &later);
}

#[test]
fn a_pack_of_which_nothing_is_needed_is_not_named() {
    let (_directory, store) = store();
    let sent = first_save();
    let first = save(&store, 1, &sent, Arc::new(NothingKnown));
    let last = vec![(0, 299)];
    let second = save(&store, 1, &last, Parent::of(&store, &first));
    check(&store, &second, &last);
    assert_eq!(second.packs.len(), 1);
    assert!(first.packs.contains(&second.packs[0]));
}

#[test]
fn the_last_content_of_a_page_counts_whether_it_is_known_or_new_or_zero() {
    let (_directory, store) = store();
    let sent = first_save();
    let first = save(&store, 1, &sent, Arc::new(NothingKnown));
    let known = |page: u64| page * 7 + 2;
    let new = |page: u64| 20_000 + page;
    let mut sent: Sent = Vec::new();
    for page in 0..PAGES {
        let contents = [known(page % 40), new(page), 0];
        for turn in 0..3 {
            sent.push((page, contents[((page + turn) % 3) as usize]));
        }
    }
    for workers in [1, 3] {
        let second = save(&store, workers, &sent, Parent::of(&store, &first));
        check(&store, &second, &sent);
        assert_eq!(second.statistics.pages_received, 3 * PAGES);
        assert_eq!(second.statistics.pages_repeated, 2 * PAGES);
        assert_eq!(second.statistics.pages_stored, PAGES);
        assert_eq!(second.statistics.pages_dead, PAGES / 3 * 2);
    }
}

#[test]
fn the_same_pages_make_the_same_packs_with_any_number_of_workers() {
    let (_directory, store) = store();
    let first = save(&store, 1, &first_save(), Arc::new(NothingKnown));
    let parent = Parent::of(&store, &first);
    // Some known, some new, many zero, in no order.
    let seed = |step: u64| match step % 9 {
        0..3 => step % PAGES + 1,
        3..5 => 30_000 + step,
        _ => 0,
    };
    let sent: Sent = (0..4000)
        .map(|step| (step * 37 % PAGES, seed(step)))
        .collect();
    let known: [Arc<dyn KnownPages>; 2] = [Arc::new(NothingKnown), parent];
    for known in known {
        let alone = save(&store, 1, &sent, Arc::clone(&known));
        check(&store, &alone, &sent);
        for workers in [2, 5] {
            let together = save(&store, workers, &sent, Arc::clone(&known));
            assert_eq!(together.packs, alone.packs);
            assert_eq!(together.ram, alone.ram);
        }
    }
}

/// Knows nothing, and panics when it is asked for the last time.
struct Panicking(AtomicI64);

impl KnownPages for Panicking {
    fn look_up(&self, _: BlockIndex, _: PageIndex, _: &Digest) -> Lookup {
        assert_ne!(self.0.fetch_sub(1, Ordering::Relaxed), 0, "as it should");
        Lookup::New
    }

    fn packs(&self) -> &[PackRecord] {
        &[]
    }
}

/// More pages than all queues hold.
fn many() -> Sent {
    (0..20_000).map(|step| (step % PAGES, step + 1)).collect()
}

fn nothing_is_left(directory: &TempDir, store: &Store) {
    assert_eq!(store.names().unwrap(), []);
    for folder in ["packs", "tmp"] {
        let entries = std::fs::read_dir(directory.path().join(folder));
        assert_eq!(entries.map_or(0, Iterator::count), 0, "{folder}");
    }
}

#[test]
fn a_worker_that_panics_ends_the_save_and_says_so() {
    let sent = many();
    for (workers, after) in [(1, 0), (1, 15_000), (3, 0), (3, 77), (3, 15_000)] {
        let (directory, store) = store();
        let known = Arc::new(Panicking(AtomicI64::new(after)));
        let vm = "vm".parse().unwrap();
        let mut writer = store.save_with(vm, &options(workers), known).unwrap();
        let fed = feed(&mut writer, &sent);
        let result = fed.and_then(|()| writer.publish(Details::default()).map(drop));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("a thread of the save panicked"), "{error}");
        nothing_is_left(&directory, &store);
    }
}

#[test]
fn a_save_that_is_dropped_in_its_middle_leaves_nothing() {
    for pages in [0, 1, 3, 400, 20_000] {
        let (directory, store) = store();
        let vm = "vm".parse().unwrap();
        let mut writer = store.save(vm, &options(3)).unwrap();
        let mut sent = many();
        sent.truncate(pages);
        feed(&mut writer, &sent).unwrap();
        drop(writer);
        nothing_is_left(&directory, &store);
    }
}

/// A disk with so many bytes left.
struct FullDisk {
    session: Arc<dyn Session>,
    left: Arc<AtomicI64>,
}

struct FullDiskUpload {
    upload: Box<dyn Upload>,
    left: Arc<AtomicI64>,
}

fn no_space() -> StoreError {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    StoreError::io("write", "a pack", full)
}

impl Session for FullDisk {
    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(FullDiskUpload {
            upload: self.session.create()?,
            left: Arc::clone(&self.left),
        }))
    }

    fn publish(&self, objects: &[Key], head: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.session.publish(objects, head, content)
    }
}

impl Upload for FullDiskUpload {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let length = i64::try_from(bytes.len()).unwrap();
        if self.left.fetch_sub(length, Ordering::Relaxed) < length {
            return Err(no_space());
        }
        self.upload.append(bytes)
    }

    fn seal(self: Box<Self>, key: &Key) -> Result<(), StoreError> {
        if self.left.load(Ordering::Relaxed) < 0 {
            return Err(no_space());
        }
        self.upload.seal(key)
    }
}

#[test]
fn a_disk_that_is_full_ends_the_save_with_that_error() {
    let sent = many();
    for (workers, left) in [
        (1, 0),
        (1, 9_000_000),
        (3, 100),
        (3, 30_000),
        (3, 9_000_000),
    ] {
        let (directory, store) = store();
        let known = Arc::new(NothingKnown);
        let mut writer = store
            .save_with("vm".parse().unwrap(), &options(workers), known)
            .unwrap();
        writer.session = Arc::new(FullDisk {
            session: Arc::clone(&writer.session),
            left: Arc::new(AtomicI64::new(left)),
        });
        let fed = feed(&mut writer, &sent);
        let result = fed.and_then(|()| writer.publish(Details::default()).map(drop));
        let Err(StoreError::Io { source, .. }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        nothing_is_left(&directory, &store);
    }
}
