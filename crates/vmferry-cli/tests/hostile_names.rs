//! Names that want a terminal to do something, or to look like something that vmferry says: no command lets them
//! through, neither in its result nor in what it says meanwhile, and JSON gives them back as they were.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use vmferry::load::{Image, Options, Visitor, load};
use vmferry::machine::DeviceState;
use vmferry::progress::Progress;
use vmferry::ram::{BlockIndex, Page, PageSource, RamBlocks};
use vmferry::save::precopy;
use vmferry::wire::SliceSource;
use vmferry_cli::ui::is_harmful;

/// Orders to a terminal in 7 and 8 bits, text that runs backwards, text that cannot be seen, and a line of its own.
const HOSTILE: &str =
    "\x1b]0;owned\x07\u{9b}2J\x7f\u{85}\r\u{202e}\u{200b}\u{2066}\u{feff}\nvmferry: FORGED";

/// What is given a hostile name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The machine type.
    Machine,
    /// Every RAM block.
    Blocks,
    /// Every device, and what its description says of it.
    Devices,
}

const ALL: [Named; 3] = [Named::Machine, Named::Blocks, Named::Devices];

fn hostile(name: &str) -> String {
    format!("{name}{HOSTILE}")
}

/// A machine that a real QEMU sent, with some of its names made hostile.
fn stream(golden: &str, what: &[Named]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let packed =
        File::open(folder.join(format!("{golden}.stream.zst"))).expect("testdata is there");
    let bytes = zstd::decode_all(packed).expect("it is unpacked");
    let mut whole = Image::default();
    load(
        &mut SliceSource::new(&bytes),
        &mut whole,
        &Options::default(),
    )
    .expect("QEMU sent it");

    let mut image = Image::default();
    image.state = whole.state.clone();
    if what.contains(&Named::Machine) {
        let configuration = image.state.configuration.as_mut().expect("there is one");
        configuration.machine = hostile(&configuration.machine);
    }
    let mut blocks = RamBlocks::default();
    for (_, block) in whole.blocks().iter() {
        let mut block = block.clone();
        // By its name, the main memory is found.
        if what.contains(&Named::Blocks) && block.idstr != "pc.ram" {
            block.idstr = hostile(&block.idstr);
        }
        blocks.insert(block);
    }
    let Ok(()) = image.ram_blocks(&blocks, whole.page_size());
    copy_pages(&whole, &mut image);
    if what.contains(&Named::Devices) {
        for device in &mut image.state.devices {
            let mut header = device.header().clone();
            header.idstr = hostile(&header.idstr);
            *device = DeviceState::new(header, device.phase(), device.payload()).expect("a name");
        }
        let description = image.state.vmdesc.as_mut().expect("there is one");
        let json = String::from_utf8(description.clone()).expect("QEMU wrote it");
        *description = rename(&json).into_bytes();
    }
    let mut stream = Vec::new();
    precopy(&mut stream, &image.state, &image, &Progress::default()).expect("memory takes it");
    stream
}

fn copy_pages(from: &Image, to: &mut Image) {
    let visit = &mut |block: BlockIndex, page, content: Page<'_>| {
        to.put(block, page, content);
        std::ops::ControlFlow::Continue(())
    };
    let result: Result<(), Infallible> = from.pages(&|_, _| true, visit);
    let Ok(()) = result;
}

/// Makes the names in a description hostile: of devices, of what they are, and of fields; but not those of subsections,
/// which are in the state itself. As text: QEMU's has members of one name twice, which no parser keeps.
fn rename(json: &str) -> String {
    let fields = rename_where(json, "\"name\": \"", |_| true);
    rename_where(&fields, "\"vmsd_name\": \"", |before| {
        let number = before
            .trim_end_matches(", ")
            .trim_end_matches(|c: char| c.is_ascii_digit());
        number.ends_with("\"instance_id\": ")
    })
}

fn rename_where(json: &str, member: &str, is_meant: impl Fn(&str) -> bool) -> String {
    let quoted = Value::from(HOSTILE).to_string();
    let hostile = quoted.trim_matches('"');
    let mut renamed = String::new();
    for (number, piece) in json.split(member).enumerate() {
        if number == 0 {
            renamed.push_str(piece);
            continue;
        }
        let (name, rest) = piece.split_once('"').expect("a string has an end");
        let added = if is_meant(&renamed) { hostile } else { "" };
        renamed.extend([member, name, added, "\"", rest]);
    }
    renamed
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file");
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a command, and looks at all that it prints; `OUT` is a new file. Tells its exit status, and its result.
    fn run<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> (i32, String) {
        let words: Vec<_> = words
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        let output = Command::new(env!("CARGO_BIN_EXE_vmferry"))
            .args(&words)
            .current_dir(self.0.path())
            .env_clear()
            .env("VMFERRY_STORE", self.path("store"))
            .env("VMFERRY_LOG", "trace")
            .stdin(Stdio::null())
            .output()
            .expect("vmferry runs");
        for (what, bytes) in [("result", &output.stdout), ("messages", &output.stderr)] {
            let text =
                std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            let harmful = text.lines().find(|line| line.contains(is_harmful));
            assert_eq!(harmful, None, "{words:?}: {what}");
            let forged = text
                .lines()
                .find(|line| line.starts_with("vmferry: FORGED"));
            assert_eq!(forged, None, "{words:?}: {what}:\n{text}");
        }
        let code = output.status.code().expect("it ends by itself");
        if code != 0 {
            println!(
                "{words:?}: {code}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        (code, String::from_utf8(output.stdout).expect("it is text"))
    }

    fn run_all(&self, lines: &[&str]) -> Vec<(i32, String)> {
        let runs = lines.iter().map(|line| {
            let new = self.path("OUT");
            let _ = std::fs::remove_file(&new);
            let _ = std::fs::remove_dir_all(&new);
            let ended = self.run(line.split_whitespace());
            if line.ends_with("--json") && ended.0 != 2 {
                let json: Result<Value, _> = serde_json::from_str(&ended.1);
                assert!(json.is_ok(), "{line}: {ended:?}");
            }
            ended
        });
        runs.collect()
    }
}

/// Every command that looks at a file `a`, in both forms.
const LINES: [&str; 32] = [
    "inspect a",
    "inspect a --json",
    "inspect a --devices",
    "inspect a --devices --json",
    "inspect a --device cpu",
    "inspect a --device cpu --json",
    "inspect a --device nothing",
    "verify a",
    "verify a --json",
    "verify a --quick",
    "diff a a",
    "diff a plain",
    "diff plain a",
    "diff a plain --pages",
    "diff a plain --pages --json",
    "diff a other --json",
    "diff a other",
    "map a -o OUT",
    "map a -o OUT --json",
    "map a --against plain -o OUT",
    "report a -o OUT",
    "report a -o OUT --json",
    "export a --format raw -o OUT",
    "export a --format raw -o OUT --json",
    "export a --format elf -o OUT",
    "export a --format elf -o OUT --json",
    "export a --format lime -o OUT",
    "export a --format blocks -o OUT",
    "export a --format blocks -o OUT --json",
    "convert a --to stream -o OUT",
    "convert a --to stream -o OUT --json",
    "convert a --to mapped-ram -o OUT --json",
];

#[test]
fn no_command_lets_a_hostile_name_of_a_stream_through() {
    for golden in ["10.0-pc-small", "7.2-pc-smp2"] {
        for what in [&ALL[..1], &ALL[1..2], &ALL[2..], &ALL[..]] {
            let place = Place::new();
            place.put("a", &stream(golden, what));
            place.put("plain", &stream(golden, &[]));
            place.put("other", &stream("10.0-q35-small", &ALL));
            let ended = place.run_all(&LINES);
            assert_eq!(ended[0].0, 0, "{golden}, {what:?}: {ended:?}");
            let sound = ended.iter().filter(|(code, _)| *code == 0).count();
            assert!(sound > 15, "{golden}, {what:?}: {sound}");

            // JSON says what was there.
            let json: Value = serde_json::from_str(&ended[1].1).expect("JSON");
            let has = |text: &str| json.to_string().contains(&Value::from(text).to_string());
            assert_eq!(has(&hostile("pc.bios")), what.contains(&Named::Blocks));
            assert_eq!(has(&hostile("timer")), what.contains(&Named::Devices));
        }
    }
}

#[test]
fn no_command_lets_a_hostile_name_of_a_checkpoint_through() {
    let place = Place::new();
    place.put("a", &stream("10.0-pc-small", &ALL));
    place.put("b", &stream("10.0-pc-small", &[]));
    let lines = [
        "convert a --to checkpoint web",
        "convert b --to checkpoint web --json",
        "list",
        "list --json",
        "inspect web",
        "inspect web --json",
        "inspect web --devices",
        "verify web",
        "verify web --json",
        "diff web b",
        "diff a web --json",
        "report web -o OUT",
        "map web -o OUT",
        "export web --format blocks -o OUT",
        "convert web --to stream -o OUT",
    ];
    let ended = place.run_all(&lines);
    assert_eq!(ended[0].0, 0);
    let first = ended[0].1.trim().to_owned();
    let of_first = [
        format!("inspect {first}"),
        format!("inspect {first} --json"),
        format!("verify {first}"),
        format!("diff {first} web"),
        format!("export {first} --format elf -o OUT"),
        format!("report {first} -o OUT"),
        format!("delete {first}"),
    ];
    let lines: Vec<_> = of_first.iter().map(String::as_str).collect();
    assert_eq!(place.run_all(&lines)[0].0, 0);
}

#[test]
fn what_is_said_of_a_damaged_stream_is_harmless_too() {
    let place = Place::new();
    let whole = stream("10.0-pc-small", &ALL);
    for cut in [whole.len() - 5, whole.len() - 30_000, whole.len() / 2, 300] {
        place.put("a", &whole[..cut]);
        place.run_all(&[
            "inspect a",
            "inspect a --json",
            "verify a",
            "verify a --json",
            "report a -o OUT --rescue",
            "map a -o OUT --rescue",
            "export a --format raw -o OUT --rescue",
            "diff a a --rescue",
            "convert a --to stream -o OUT",
        ]);
    }
    // A byte of a payload, of a footer, of a record is wrong.
    for at in (40..whole.len()).step_by(997) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        place.put("a", &damaged);
        place.run_all(&["inspect a --devices", "verify a", "verify a --json"]);
    }
}

#[test]
fn the_names_of_files_and_snapshots_are_harmless_too() {
    let place = Place::new();
    let name = format!("a{HOSTILE}");
    place.put(&name, &stream("10.0-pc-small", &[]));
    for words in [
        vec!["inspect", "./NAME"],
        vec!["inspect", "./NAME", "--json"],
        vec!["verify", "./NAME"],
        vec!["verify", "./NAME", "--json"],
        vec!["diff", "./NAME", "./NAME"],
        vec!["diff", "./NAME", "./NAME-that-is-not-there"],
        vec!["export", "./NAME", "--format", "raw", "-o", "./NAME.raw"],
        vec!["map", "./NAME", "-o", "./NAME.png"],
        vec!["report", "./NAME", "-o", "./NAME.html"],
        vec!["convert", "./NAME", "--to", "stream", "-o", "./NAME.stream"],
    ] {
        let words = words.into_iter().map(|word| word.replace("NAME", &name));
        place.run(words);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let packed = File::open(folder.join("10.0-q35-savevm.qcow2.zst")).expect("testdata is there");
    let image = zstd::decode_all(packed).expect("it is unpacked");
    place.put("disk", &image);
    let mut renamed = image;
    // As many bytes of something else, in the image's list of snapshots, where the id stands before the name.
    for (name, new) in [("1first", "1\x1b[2J\n"), ("2second", "2\x07\x7f\r\nab")] {
        let windows = renamed.windows(name.len()).enumerate();
        let places: Vec<_> = windows
            .filter(|(_, bytes)| *bytes == name.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "{name}");
        for at in places {
            renamed[at..at + name.len()].copy_from_slice(new.as_bytes());
        }
    }
    place.put("disk", &renamed);
    for words in [
        "inspect disk",
        "verify disk",
        "inspect file:disk,snapshot=none",
        "inspect file:disk,snapshot=1",
        "inspect file:disk,snapshot=1 --json",
        "verify file:disk,snapshot=2",
        "convert file:disk,snapshot=1 --to checkpoint web",
        "convert file:disk,snapshot=1 --to checkpoint web --json",
    ] {
        let (code, result) = place.run(words.split_whitespace());
        let is_ambiguous = !words.contains("=1") && !words.contains("=2");
        assert_eq!(code, if is_ambiguous { 2 } else { 0 }, "{words}");
        if words.ends_with("--json") {
            serde_json::from_str::<Value>(&result).expect("JSON");
        }
    }
}
