//! Every command on every golden file, on files that are cut, and on what is no saved machine: a result or an error,
//! what is written is there whole or not at all, and nothing is replaced unasked.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What writes something; `IN` is what is read.
const WRITING: [&str; 9] = [
    "export IN --format raw -o out",
    "export IN --format elf -o out",
    "export IN --format lime -o out",
    "export IN --format blocks -o out",
    "convert IN --to stream -o out",
    "convert IN --to mapped-ram -o out",
    "convert IN --to libvirt --xml domain.xml -o out",
    "map IN -o out",
    "report IN -o out",
];

/// What only looks.
const LOOKING: [&str; 5] = [
    "inspect IN",
    "inspect IN --devices",
    "inspect IN --json",
    "verify IN",
    "diff IN IN",
];

/// A folder in which commands run; only what they write changes it.
struct Place(TempDir);

struct Ended {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let xml = "<domain type='qemu'><name>web</name></domain>\n";
        fs::write(folder.path().join("domain.xml"), xml).expect("a file");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a command, which must say what is wrong if something is, and never panic.
    fn run(&self, words: &str, file: &Path) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmferry"));
        for word in words.split_whitespace() {
            match word {
                "IN" => command.arg(file),
                _ => command.arg(word),
            };
        }
        // Left as it is, because lzop is a program.
        command
            .env("HOME", self.0.path())
            .env("XDG_DATA_HOME", self.path("data"));
        let output = command
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("vmferry runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let what = format!("{words}, {}: {stderr}", file.display());
        let code = output.status.code().expect(&what);
        assert!((0..=2).contains(&code), "{code}: {what}");
        assert!(!stderr.contains("panicked"), "{what}");
        assert!(code != 2 || stderr.contains("error:"), "{what}");
        Ended {
            code,
            stdout: output.stdout,
            stderr,
        }
    }

    /// What there is, and how long it is.
    fn listing(&self) -> BTreeMap<PathBuf, u64> {
        fn list(folder: &Path, into: &mut BTreeMap<PathBuf, u64>) {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let data = path.symlink_metadata().expect("it is there");
                if data.is_dir() {
                    list(&path, into);
                }
                into.insert(path, data.len());
            }
        }
        let mut all = BTreeMap::new();
        list(self.0.path(), &mut all);
        all
    }

    /// Runs a command that writes `out`: it is there, and nothing else; or not even that.
    fn write(&self, words: &str, file: &Path) -> Ended {
        let before = self.listing();
        let ended = self.run(words, file);
        let out = self.path("out");
        if ended.code == 0 {
            assert!(out.exists(), "{words}, {}", file.display());
            if out.is_dir() {
                fs::remove_dir_all(&out).expect("it is there");
            } else {
                assert!(out.metadata().expect("it is there").len() > 0);
                fs::remove_file(&out).expect("it is there");
            }
        }
        let after = self.listing();
        assert_eq!(
            after,
            before,
            "{words}, {}: {}",
            file.display(),
            ended.stderr
        );
        ended
    }
}

fn testdata(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let entries = fs::read_dir(root.join(folder)).expect("testdata is there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn is_one_of(path: &Path, parts: &[&str]) -> bool {
    let name = path.file_name().expect("a name").to_string_lossy();
    parts.iter().any(|part| name.contains(part))
}

/// What one command alone can read: not the channels of a machine that came through several.
fn machines() -> Vec<PathBuf> {
    let mut all = testdata("streams");
    all.retain(|path| is_one_of(path, &[".stream.", ".mapped.", ".qcow2."]));
    all.extend(testdata("containers"));
    assert!(all.len() > 40, "{}", all.len());
    all
}

/// What is said to read it. Images with places for pages are read from place to place, so not while they are
/// decompressed; in one of qcow2 there are several states.
fn said(place: &Place, file: &Path) -> PathBuf {
    let option = match file {
        _ if is_one_of(file, &[".qcow2."]) => "snapshot=1",
        _ if is_one_of(file, &["mapped-offset"]) => "offset=74565",
        _ if is_one_of(file, &["sparse.save"]) => "offset=0",
        _ => return file.to_owned(),
    };
    format!("file:{},{option}", unpacked(place, file).display()).into()
}

/// Files as users have them: not compressed.
fn unpacked(place: &Place, path: &Path) -> PathBuf {
    let name = path.file_stem().expect("a name");
    let to = place.path("unpacked").join(name);
    fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    let packed = fs::File::open(path).expect("it opens");
    let mut file = fs::File::create(&to).expect("a file");
    zstd::stream::copy_decode(packed, &mut file).expect("it is a zstd frame");
    to
}

#[test]
fn every_golden_file_is_looked_into() {
    let place = Place::new();
    for file in machines() {
        // A qcow2 image is read from place to place, so not while it is decompressed.
        let file = said(&place, &file);
        // What is not there is said: memory that was shared, or that a background snapshot never wrote; or where
        // devices end.
        let lacks = is_one_of(&file, &["ignore-shared", "mapped-snapshot", "pc-2.2"]);
        for words in LOOKING {
            let ended = place.run(words, &file);
            assert!(!ended.stdout.is_empty() || ended.code != 0, "{words}");
            assert!(
                ended.code == 0 || lacks,
                "{words}, {}: {}",
                file.display(),
                ended.stderr
            );
        }
    }
}

#[test]
fn every_golden_file_is_written_in_every_form() {
    let place = Place::new();
    let mut refused = Vec::new();
    for file in machines() {
        let file = said(&place, &file);
        for words in WRITING {
            let ended = place.write(words, &file);
            if ended.code != 0 {
                let name = file.file_name().expect("a name").to_string_lossy();
                let said = ended.stderr.replace(&*file.to_string_lossy(), &name);
                let words = words.replace("IN", &name);
                refused.push(format!("{words}\n  {}", said.trim()));
            }
        }
    }
    insta::assert_snapshot!(refused.join("\n"));
}

#[test]
fn one_channel_of_several_gives_an_error_or_a_machine_and_never_half_a_file() {
    let place = Place::new();
    let mut channels = testdata("streams");
    channels.retain(|path| !is_one_of(path, &[".stream.", ".mapped.", ".qcow2."]));
    assert!(channels.len() > 30, "{}", channels.len());
    for file in channels {
        for words in LOOKING {
            place.run(words, &file);
        }
        for words in WRITING {
            place.write(words, &file);
        }
    }
}

#[test]
fn a_file_that_is_cut_is_never_called_whole_and_leaves_nothing() {
    let place = Place::new();
    let cut_of = [
        "10.0-pc-small.stream.zst",
        "7.2-q35-savevm.qcow2.zst",
        "10.0-q35-mapped.mapped.zst",
        "10.0-q35-xbzrle.stream.zst",
        "10.0-pc-small-postcopy.stream.zst",
    ];
    let mut files = testdata("streams");
    files.retain(|path| is_one_of(path, &cut_of));
    assert_eq!(files.len(), cut_of.len());
    let mut files: Vec<_> = files.iter().map(|path| unpacked(&place, path)).collect();
    for image in testdata("containers") {
        if is_one_of(&image, &[".save.zst"]) {
            files.push(unpacked(&place, &image));
        } else if is_one_of(&image, &[".save"]) {
            files.push(image);
        }
    }
    let cut = place.path("cut");
    for file in files {
        let whole = fs::read(&file).expect("it is there");
        // A description and an end are the last that a stream has; in an image there is room behind them.
        let ends = [1, 7, 91, whole.len() / 3, whole.len() / 2];
        let near = if is_one_of(&file, &[".qcow2"]) {
            None
        } else {
            Some(whole.len() - 1)
        };
        for end in ends.into_iter().chain(near) {
            fs::write(&cut, &whole[..end]).expect("a file");
            let verified = place.run("verify IN", &cut);
            assert_ne!(verified.code, 0, "{} cut at {end}", file.display());
            for words in LOOKING {
                place.run(words, &cut);
            }
            for words in WRITING {
                let ended = place.write(words, &cut);
                assert_ne!(ended.code, 0, "{words}, {} cut at {end}", file.display());
                // An error, or what could be rescued; never half of that.
                if ended.stderr.contains("--rescue") {
                    place.write(&format!("{words} --rescue"), &cut);
                }
            }
        }
    }
}

#[test]
fn what_is_no_saved_machine_is_refused_by_every_command() {
    let place = Place::new();
    let noise: Vec<u8> = (0_u32..1 << 16)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let contents: [(&str, &[u8]); 7] = [
        ("empty", b""),
        ("text", b"Dear Sir or Madam,\n"),
        ("noise", &noise),
        ("zeros", &[0; 65536]),
        ("magic", b"QEVM"),
        ("image", b"QFI\xfb\0\0\0\x03"),
        ("libvirt", b"LibvirtQemudSave\x02\0\0\0"),
    ];
    for (name, bytes) in contents {
        fs::write(place.path(name), bytes).expect("a file");
    }
    let mut files: Vec<_> = contents.iter().map(|(name, _)| place.path(name)).collect();
    files.extend(["/dev/null", "/", "not-there/at-all"].map(PathBuf::from));
    for file in files {
        for words in LOOKING.into_iter().chain(WRITING) {
            let ended = place.write(words, &file);
            assert_ne!(ended.code, 0, "{words}, {}", file.display());
            // What 'verify' has found out is its result.
            let said = !ended.stderr.is_empty() || words.starts_with("verify");
            assert!(said, "{words}, {}", file.display());
        }
    }
}

#[test]
fn nothing_is_replaced_unasked() {
    let place = Place::new();
    let mut files = testdata("streams");
    files.retain(|path| is_one_of(path, &["10.0-pc-small.stream"]));
    let [file] = &files[..] else {
        panic!("{files:?}");
    };
    for words in WRITING {
        let is_folder = words.contains("blocks");
        let out = place.path("out");
        let precious = if is_folder {
            out.join("precious")
        } else {
            out.clone()
        };
        if is_folder {
            fs::create_dir(&out).expect("a folder");
        }
        fs::write(&precious, "precious").expect("a file");
        let ended = place.run(words, file);
        assert_eq!(ended.code, 2, "{words}");
        assert!(
            ended.stderr.contains("--force"),
            "{words}: {}",
            ended.stderr
        );
        assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
        let forced = place.run(&format!("{words} --force"), file);
        assert_eq!(forced.code, 0, "{words}: {}", forced.stderr);
        if is_folder {
            fs::remove_dir_all(&out).expect("it is there");
        } else {
            assert_ne!(fs::read(&out).expect("it is there"), b"precious");
            fs::remove_file(&out).expect("it is there");
        }
    }
}

#[test]
fn one_interrupt_ends_a_command_that_waits_for_more_and_leaves_nothing() {
    let place = Place::new();
    let golden = testdata("streams");
    let golden = golden
        .iter()
        .find(|path| is_one_of(path, &["10.0-q35-many.stream"]));
    let packed = fs::File::open(golden.expect("it is there")).expect("it opens");
    let whole = zstd::decode_all(packed).expect("it is a zstd frame");
    let before = place.listing();
    for words in WRITING {
        // What runs the tests in the background may ignore interrupts, and its children with it.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT", env!("CARGO_BIN_EXE_vmferry")])
            .args(
                words
                    .split_whitespace()
                    .map(|word| if word == "IN" { "-" } else { word }),
            )
            .env("XDG_DATA_HOME", place.path("data"))
            .current_dir(place.0.path());
        let pipes = command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("vmferry runs");
        // More than a pipe holds: when it is gone, the command is at work.
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(&whole[..whole.len() - 100])
            .expect("it is read");
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::INT).expect("it runs");
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || ended.send(child.wait_with_output()));
        let end = end.recv_timeout(Duration::from_secs(60));
        let Ok(end) = end else {
            drop(pipe);
            panic!("{words}: an interrupt does not end it");
        };
        let end = end.expect("it can be waited for");
        let stderr = String::from_utf8_lossy(&end.stderr);
        // As a shell shows both: 130.
        let by_it =
            end.status.code() == Some(130) || end.status.signal() == Some(Signal::INT.as_raw());
        assert!(by_it, "{words}: {}: {stderr}", end.status);
        assert_eq!(place.listing(), before, "{words}");
    }
}
