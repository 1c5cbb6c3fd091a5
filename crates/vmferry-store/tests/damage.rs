//! A store in which any byte has changed, or any file is short or gone: an error, or the right pages;
//! never a wrong one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{Machine, files, open, tiny_store};
use vmferry_store::{CheckpointName, Store, StoreError};

struct Sample {
    directory: tempfile::TempDir,
    machine: Machine,
    name: CheckpointName,
}

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::small();
        let manifest = machine.save(&tiny_store(directory.path()), "vm").unwrap();
        Self {
            directory,
            machine,
            name: manifest.name(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Reads everything; what is handed out is compared, and the first error returned.
    fn read(&self) -> Result<(), StoreError> {
        let store = Store::open(self.path())?;
        for listed in store.list()? {
            assert_eq!(listed.name, self.name);
        }
        let checkpoint = open(&store, &self.name)?;
        self.machine.check(&checkpoint)
    }

    /// As [`Self::read`], and a verification, which must not miss what reading notices.
    fn read_and_verify(&self) -> Result<(), StoreError> {
        let checkpoint = open(&Store::open(self.path())?, &self.name)?;
        let read = self.machine.check(&checkpoint);
        let report = checkpoint.verify();
        match report.damages.into_iter().next() {
            Some(damage) => Err(damage),
            None if read.is_ok() => Ok(()),
            None => panic!("verifies, though {read:?}"),
        }
    }

    fn of_kind(&self, kind: &str) -> Vec<String> {
        let files = files(self.path());
        let of_kind: Vec<String> = files.into_iter().filter(|f| f.contains(kind)).collect();
        assert!(!of_kind.is_empty(), "{kind}");
        of_kind
    }

    /// Runs `test` with each file of the store replaced by what `change` makes of it.
    fn with_changed(&self, file: &str, content: &[u8], test: impl FnOnce()) {
        let path = self.path().join(file);
        let before = fs::read(&path).unwrap();
        overwrite(&path, content);
        test();
        overwrite(&path, &before);
    }
}

/// Writes over a file without emptying it first: some file systems then wait for the disk.
fn overwrite(path: &Path, content: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(content, 0).unwrap();
    file.set_len(content.len() as u64).unwrap();
}

#[test]
fn a_flip_of_any_byte_is_an_error_or_changes_nothing_that_is_handed_out() {
    let sample = Sample::new();
    for file in files(sample.path()) {
        let bytes = fs::read(sample.path().join(&file)).unwrap();
        let mut noticed = 0;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            sample.with_changed(&file, &changed, || {
                noticed += usize::from(sample.read_and_verify().is_err());
            });
        }
        let flips = bytes.len();
        let enough = match file.rsplit('.').next() {
            // Some bits of a Zstandard frame make no difference to what comes out of it.
            Some("pack") => flips * 99 / 100,
            Some("json") => flips / 2,
            _ => flips,
        };
        assert!(noticed >= enough, "{file}: {noticed} of {flips}");
    }
    sample.read_and_verify().unwrap();
}

#[test]
fn a_file_that_ends_early_is_an_error_at_every_length() {
    let sample = Sample::new();
    for file in files(sample.path()) {
        if file == "lock" {
            continue;
        }
        let bytes = fs::read(sample.path().join(&file)).unwrap();
        // The last byte of a JSON file is a line feed that nobody needs.
        let end = bytes.len() - usize::from(file.ends_with(".json"));
        for length in 0..end {
            sample.with_changed(&file, &bytes[..length], || {
                assert!(sample.read().is_err(), "{length} bytes of {file}");
            });
        }
        let mut longer = bytes;
        longer.push(b'x');
        sample.with_changed(&file, &longer, || {
            assert!(sample.read().is_err(), "one byte more in {file}");
        });
    }
}

#[test]
fn a_missing_file_is_named_together_with_what_needs_it() {
    for kind in ["packs/", "maps/", "states/"] {
        let sample = Sample::new();
        for file in sample.of_kind(kind) {
            let path = sample.path().join(&file);
            let away = sample.path().join("away");
            fs::rename(&path, &away).unwrap();
            let error = sample.read().unwrap_err();
            assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(&file) && text.contains("vm@"), "{text}");
            fs::rename(&away, &path).unwrap();
        }
    }
}

#[test]
fn objects_that_changed_places_are_errors() {
    let sample = Sample::new();
    let packs = sample.of_kind("packs/");
    let content = fs::read(sample.path().join(&packs[0])).unwrap();
    sample.with_changed(&packs[1], &content, || {
        assert!(sample.read().unwrap_err().is_damage());
    });
    let map = &sample.of_kind("maps/")[0];
    let state = &sample.of_kind("states/")[0];
    let content = fs::read(sample.path().join(state)).unwrap();
    sample.with_changed(map, &content, || {
        assert!(sample.read().unwrap_err().is_damage());
    });
}

#[test]
fn a_manifest_under_another_name_is_an_error() {
    let sample = Sample::new();
    let manifest = &sample.of_kind("checkpoints/")[0];
    let other = sample.path().join("checkpoints/other");
    fs::create_dir(&other).unwrap();
    let file = Path::new(manifest).file_name().unwrap();
    fs::copy(sample.path().join(manifest), other.join(file)).unwrap();
    let store = Store::open(sample.path()).unwrap();
    let error = store.list().unwrap().remove(0).manifest.unwrap_err();
    assert!(error.to_string().contains("must not be moved"), "{error}");
}

#[test]
fn another_stores_checkpoint_is_an_error() {
    let (one, other) = (Sample::new(), Sample::new());
    let config = fs::read(other.path().join("vmferry-store.json")).unwrap();
    one.with_changed("vmferry-store.json", &config, || {
        assert!(one.read().unwrap_err().is_damage());
    });
}

#[test]
fn a_damage_is_told_with_its_file_and_offset() {
    let sample = Sample::new();
    let pack = &sample.of_kind("packs/")[0];
    let mut content = fs::read(sample.path().join(pack)).unwrap();
    content[40] ^= 1;
    sample.with_changed(pack, &content, || {
        let text = sample.read().unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("{pack} is damaged at offset 0x20")),
            "{text}"
        );
    });
}

#[test]
fn a_newer_version_and_an_unknown_feature_are_refused_by_name_and_listed() {
    let sample = Sample::new();
    let manifest = &sample.of_kind("checkpoints/")[0];
    let text = fs::read_to_string(sample.path().join(manifest)).unwrap();
    let listed = |what: &str| {
        let listed = Store::open(sample.path()).unwrap().list().unwrap();
        let error = listed[0].manifest.as_ref().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(sample.read().unwrap_err().to_string().contains(what));
    };
    let newer = text.replacen("\"version\": 1", "\"version\": 2", 1);
    sample.with_changed(manifest, newer.as_bytes(), || {
        listed("has format version 2, this vmferry reads up to 1");
    });
    let feature = text.replacen("\"required\": []", "\"required\": [\"teleport\"]", 1);
    sample.with_changed(manifest, feature.as_bytes(), || {
        listed("needs the feature 'teleport'");
    });
    let optional = text.replacen("\"optional\": []", "\"optional\": [\"sparkle\"]", 1);
    sample.with_changed(manifest, optional.as_bytes(), || {
        assert!(sample.read().unwrap_err().is_damage());
    });

    let config = fs::read_to_string(sample.path().join("vmferry-store.json")).unwrap();
    let newer = config.replacen("\"version\": 1", "\"version\": 7", 1);
    sample.with_changed("vmferry-store.json", newer.as_bytes(), || {
        assert!(matches!(
            sample.read(),
            Err(StoreError::NewerVersion { found: 7, .. })
        ));
    });
    let feature = config.replacen("\"sidecars\"", "\"sidecars\", \"sealed\"", 1);
    sample.with_changed("vmferry-store.json", feature.as_bytes(), || {
        let error = sample.read().unwrap_err().to_string();
        assert!(error.contains("needs the feature 'sealed'"), "{error}");
    });
}
