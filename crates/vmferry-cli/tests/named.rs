//! What a word on the command line means: the same to every command, in every folder, for every user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use vmferry::load::{Options, load};
use vmferry::wire::SliceSource;
use vmferry_store::{Details, SaveOptions, Store};

/// A folder with a store in it.
struct Place(TempDir);

struct Ended {
    code: Option<i32>,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A checkpoint of `vm` that was saved then.
    fn save(&self, vm: &str, begun: &str) {
        let store = Store::open_or_create(self.path("store")).expect("a store");
        let begun = begun.parse().expect("a time");
        let options = SaveOptions::default().begun(begun);
        let vm = vm.parse().expect("a name");
        let mut writer = store.save(vm, &options).expect("a save");
        let stream = stream("10.0-pc-small");
        let mut source = SliceSource::new(&stream);
        load(&mut source, &mut writer, &Options::default()).expect("it is read");
        writer.publish(Details::default()).expect("it is saved");
    }

    fn vmferry(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmferry"));
        command.args(words).current_dir(self.0.path());
        command.env("VMFERRY_STORE", self.path("store"));
        command
            .env("HOME", self.0.path())
            .env_remove("XDG_CONFIG_HOME");
        command
    }

    fn run(&self, words: &[&str]) -> Ended {
        ended(self.vmferry(words).output().expect("it runs"))
    }
}

fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

fn stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let file = fs::File::open(folder.join(format!("{name}.stream.zst")));
    zstd::decode_all(file.expect("testdata is there")).expect("it is unpacked")
}

const YESTERDAY: &str = "2026-11-27T12:00:00Z";
const NEXT_CENTURY: &str = "2126-11-27T12:00:00Z";

/// Commands that take a file or a checkpoint; `OUT` is where they write.
const EITHER: [&str; 7] = [
    "inspect web",
    "verify web",
    "diff web web",
    "map web -o OUT",
    "report web -o OUT",
    "export web --format raw -o OUT",
    "convert web --to stream -o OUT",
];

#[test]
fn a_file_or_a_folder_of_its_name_does_not_hide_a_vm() {
    let place = Place::new();
    place.save("web", YESTERDAY);
    for kind in ["folder", "file"] {
        match kind {
            "folder" => fs::create_dir(place.path("web")),
            _ => fs::remove_dir(place.path("web")).and_then(|()| fs::write(place.path("web"), "x")),
        }
        .expect("it is made");
        for words in EITHER {
            let out = format!("{kind}-{}", words.split(' ').next().unwrap_or_default());
            let words = words.replace("OUT", &out);
            let ended = place.run(&words.split(' ').collect::<Vec<_>>());
            assert_eq!(ended.code, Some(0), "{words}: {}", ended.stderr);
            let said = format!("'./web' is the {kind} here");
            assert!(ended.stderr.contains(&said), "{words}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_file_is_taken_where_no_vm_has_its_name() {
    let place = Place::new();
    fs::write(place.path("db"), stream("10.0-pc-small")).expect("a file");
    // Without a store, and with one.
    for _ in 0..2 {
        let ended = place.run(&["verify", "db"]);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        place.save("web", YESTERDAY);
    }
    fs::create_dir(place.path("ftp")).expect("a folder");
    let ended = place.run(&["verify", "ftp"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("'ftp' is a folder here, and no VM"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_comma_in_a_path_is_written_twice() {
    let place = Place::new();
    fs::write(place.path("a,b"), stream("10.0-pc-small")).expect("a file");
    let path = place.path("a,b");
    let named = format!("file:{}", path.display()).replace(',', ",,");
    for words in [
        ["verify", &named],
        ["verify", "./a,b"],
        ["verify", "file:a,,b,offset=0"],
    ] {
        let ended = place.run(&words);
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    }
    let ended = place.run(&["verify", "file:a,b"]);
    assert!(ended.stderr.contains("written as ',,'"), "{}", ended.stderr);
}

#[test]
fn a_latest_checkpoint_that_is_dated_later_than_now_is_pointed_out() {
    let place = Place::new();
    place.save("web", YESTERDAY);
    let ended = place.run(&["verify", "web"]);
    assert!(!ended.stderr.contains("clock"), "{}", ended.stderr);
    place.save("web", NEXT_CENTURY);
    let ended = place.run(&["verify", "web"]);
    assert!(
        ended.stderr.contains("the clock went back"),
        "{}",
        ended.stderr
    );
    // A new one does not become the latest, and its name says which it is.
    fs::write(place.path("file"), stream("10.0-pc-small")).expect("a file");
    let ended = place.run(&["convert", "file", "--to", "checkpoint", "web"]);
    assert!(
        ended.stderr.contains("'web@latest' is still web@2126"),
        "{}",
        ended.stderr
    );
    let ended = place.run(&["delete", "web@latest"]);
    assert!(
        ended.stderr.contains("the clock went back"),
        "{}",
        ended.stderr
    );
}

#[test]
fn settings_that_are_out_of_reach_are_left_aside() {
    let place = Place::new();
    let with = |folder: &Path| {
        let mut command = place.vmferry(&["list"]);
        ended(
            command
                .env("XDG_CONFIG_HOME", folder)
                .output()
                .expect("it runs"),
        )
    };
    // A folder that is none: as root, nothing else is out of reach.
    let ended = with(Path::new("/dev/null"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("are out of reach"),
        "{}",
        ended.stderr
    );
    // Those that are there count, and have to be right.
    fs::create_dir(place.path("vmferry")).expect("a folder");
    fs::write(place.path("vmferry/config.toml"), "mode = 'fast'").expect("a file");
    let ended = with(place.0.path());
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_written_to_standard_output_says_so() {
    let place = Place::new();
    place.save("web", YESTERDAY);
    for words in [
        "convert web --to stream -o -",
        "export web --format raw -o -",
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = place.vmferry(&words.split(' ').collect::<Vec<_>>());
        command.stdout(full.expect("there is one"));
        let ended = ended(command.output().expect("it runs"));
        assert_eq!(ended.code, Some(2), "{words}: {}", ended.stderr);
        let said = &ended.stderr;
        assert!(
            said.contains("cannot write to standard output"),
            "{words}: {said}"
        );
        assert!(said.contains("No space left"), "{words}: {said}");
    }
}
