//! Commands that look at a saved state, on every golden stream, cut anywhere and damaged anywhere: a result or an
//! error that says where, the right exit status, and JSON that is whole.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The names of all golden streams that one pass reads and that describe their devices, and their bytes.
fn streams() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let entries = std::fs::read_dir(folder).expect("testdata is there");
    let without_description = ["pc-2.2", "suppress-vmdesc", "postcopy."];
    let streams: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.display().to_string();
            let has = |word: &&str| name.contains(word);
            name.ends_with(".stream.zst") && !without_description.iter().any(has)
        })
        .map(|path| {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let packed = File::open(path).expect("it opens");
            (name, zstd::decode_all(packed).expect("it is unpacked"))
        })
        .collect();
    assert!(streams.len() >= 9, "{}", streams.len());
    streams
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).expect("a file");
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmferry"));
        command
            .args(words.split_whitespace())
            .current_dir(self.0.path())
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).output().expect("vmferry runs")
    }
}

/// Whether a command ended as it should: a status that means something, and no word of a panic.
fn ended(words: &str, output: &Output) -> i32 {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    let code = code.unwrap_or_else(|| panic!("{words}: {}: {stderr}", output.status));
    assert!((0..=2).contains(&code), "{words}: {code}: {stderr}");
    assert!(!stderr.contains("panicked"), "{words}: {stderr}");
    if code == 2 {
        assert!(stderr.contains("error:"), "{words}: {stderr}");
        assert!(output.stdout.is_empty(), "{words}");
    }
    code
}

/// The JSON that a command printed, if it printed any.
fn json(words: &str, output: &Output) -> Option<Value> {
    if output.stdout.is_empty() {
        return None;
    }
    let value: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words}: {error}"));
    assert_eq!(value["schema"], 1, "{words}");
    Some(value)
}

#[test]
fn every_golden_stream_is_looked_into_and_is_sound() {
    for (name, bytes) in streams() {
        let place = Place::new();
        place.put("s", &bytes);
        for words in [
            "inspect s",
            "inspect s --json",
            "inspect s --devices",
            "inspect s --devices --json",
            "inspect s --device cpu",
            "inspect s --device cpu --json",
            "inspect s --raw vmdesc",
            "verify s",
            "verify s --json",
            "verify s --quick",
            "diff s s",
            "diff s s --json --pages",
        ] {
            let output = place.run(words);
            assert_eq!(ended(words, &output), 0, "{name}: {words}");
            if words.contains("--json") {
                assert!(json(words, &output).is_some(), "{name}: {words}");
            }
        }
        let sound = place.run("verify s --json");
        let sound = json("verify", &sound).expect("a result");
        assert_eq!(
            (&sound["sound"], &sound["damages"][0]),
            (&true.into(), &Value::Null)
        );
    }
}

#[test]
fn a_device_can_be_shown_of_every_section_of_every_golden_stream() {
    // One of each machine: there are hundreds of sections.
    for (name, bytes) in streams() {
        if !(name.contains("q35-vmem") || name.contains("pc-small.")) {
            continue;
        }
        let place = Place::new();
        place.put("s", &bytes);
        let listed = json("list", &place.run("inspect s --devices --json")).expect("a result");
        for device in listed["devices"].as_array().expect("a list") {
            assert_eq!(device["decoded"], true, "{device}");
            let (idstr, instance) = (device["idstr"].as_str(), &device["instance_id"]);
            let which = format!("{}:{instance}", idstr.expect("a name"));
            let words = format!("inspect s --json --device {which}");
            let shown = json(&words, &place.run(&words)).expect("a result");
            assert_eq!(shown["device"]["offset"], device["offset"], "{which}");
            assert!(shown["state"]["fields"].is_array(), "{which}");
            let raw = place.run(&format!("inspect s --raw {which}"));
            assert_eq!(
                raw.stdout.len() as u64,
                device["bytes"].as_u64().expect("a size")
            );
        }
    }
}

/// Looks at a damaged stream with every command; it is never called sound.
fn damaged(place: &Place, what: &str) {
    let inspected = place.run("inspect s --json");
    let code = ended("inspect", &inspected);
    assert_ne!(code, 0, "{what}");
    if code == 1 {
        let findings = json("inspect", &inspected).expect("a result");
        assert_eq!(findings["whole"], false, "{what}");
        let error = findings["error"].as_str().expect("an error");
        assert!(error.contains("at offset 0x"), "{what}: {error}");
    }
    let verified = place.run("verify s --json");
    let code = ended("verify", &verified);
    assert_ne!(code, 0, "{what}");
    if code == 1 {
        let report = json("verify", &verified).expect("a result");
        assert_eq!(report["sound"], false, "{what}");
        // What is nothing of a stream has no place in it.
        let has_place = report["damages"][0]["offset"].is_u64() || report["what"] == "unknown";
        assert!(has_place, "{what}: {report}");
    }
    for words in ["diff s s", "diff s s --json"] {
        assert_eq!(ended(words, &place.run(words)), 2, "{what}: {words}");
    }
    // They show what is there, or say that it is not.
    for words in [
        "inspect s --devices --json",
        "inspect s --device timer --json",
    ] {
        let output = place.run(words);
        assert_ne!(ended(words, &output), 0, "{what}: {words}");
        json(words, &output);
    }
}

#[test]
fn a_stream_that_was_cut_is_described_as_far_as_it_goes_and_never_called_whole() {
    for (name, bytes) in streams() {
        if name.contains("vmem") || name.contains("postcopycap") {
            continue;
        }
        let place = Place::new();
        let len = bytes.len();
        for cut in [
            0,
            3,
            8,
            9,
            40,
            300,
            len / 7,
            len / 4,
            len / 2,
            len - 100,
            len - 1,
        ] {
            place.put("s", &bytes[..cut]);
            damaged(&place, &format!("{name} cut at {cut:#x}"));
        }
    }
}

#[test]
fn a_stream_with_something_else_in_it_is_damaged_and_garbage_is_no_stream() {
    let (_, bytes) = streams()
        .into_iter()
        .find(|(name, _)| name.contains("10.0-pc-small."))
        .expect("one");
    let place = Place::new();
    // In the header, the configuration, the block list, between records, in a footer, in the description.
    let footer = bytes.windows(5).rposition(|w| w == [0x7e, 0, 0, 0, 0]);
    let footer = footer.expect("one");
    let json_at = bytes.len() - 40_000;
    for (at, with) in [
        (9, 0xff),
        (0x20, 0xff),
        (0xc5, 9),
        (0xd1, 0xff),
        (footer + 4, 1),
        (json_at, 0),
    ] {
        let mut changed = bytes.clone();
        changed[at] = with;
        place.put("s", &changed);
        damaged(&place, &format!("{with:#x} at {at:#x}"));
    }
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for garbage in [&b""[..], b"\n", b"hello, world\n", &noise] {
        place.put("s", garbage);
        for words in [
            "inspect s",
            "inspect s --json",
            "verify s",
            "verify s --json",
            "diff s s",
        ] {
            // It was looked at, which is what 'verify' is for.
            let expected = if words.starts_with("verify") { 1 } else { 2 };
            let code = ended(words, &place.run(words));
            assert_eq!(code, expected, "{words}: {} bytes", garbage.len());
        }
    }
}

#[test]
fn a_pipe_gives_the_same_and_a_reader_that_goes_away_is_no_error() {
    let (_, bytes) = streams()
        .into_iter()
        .find(|(name, _)| name.contains("10.0-q35-vmem"))
        .expect("one");
    let place = Place::new();
    place.put("s", &bytes);
    for words in [
        "inspect - --json",
        "verify - --json",
        "inspect - --device cpu",
        "diff - s",
    ] {
        let mut child = place
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("vmferry starts");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(&bytes).expect("it is read to its end");
        drop(input);
        let piped = child.wait_with_output().expect("vmferry ends");
        let of_file = place.run(&words.replacen('-', "s", 1));
        assert_eq!(ended(words, &piped), 0);
        let text = String::from_utf8(of_file.stdout).expect("it is text");
        let same = String::from_utf8(piped.stdout).expect("it is text");
        let renamed = same.replace("\"name\": \"-\"", "\"name\": \"s\"");
        assert_eq!(text, renamed, "{words}");
    }
    for words in [
        "inspect s",
        "inspect s --json",
        "inspect s --device virtio-blk",
        "inspect s --raw vmdesc",
        "verify s",
        "diff s s",
        "man inspect",
        "completions bash",
    ] {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        let output = place
            .command(words)
            .stdout(writer)
            .output()
            .expect("vmferry runs");
        let seen = (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(seen, (Some(0), "".into()), "{words}");
    }
}

#[test]
fn one_channel_of_several_is_not_taken_for_a_whole_machine_in_silence() {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    // Machine types up to 8.0 leave no mark of the other channels in the main one.
    for (name, warned) in [
        ("7.2-q35-multifd.main", true),
        ("7.2-q35-small.stream", false),
        ("10.0-q35-vmem.stream", false),
        ("10.0-q35-mapped.mapped", false),
    ] {
        let packed = File::open(folder.join(format!("{name}.zst"))).expect("it opens");
        place.put(name, &zstd::decode_all(packed).expect("it is unpacked"));
        let output = place.run(&format!("convert {name} --to stream -o {name}.out"));
        assert_eq!(ended(name, &output), 0);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let says = stderr.contains("are taken for zeros: was this one of several channels");
        assert_eq!(says, warned, "{name}: {stderr}");
    }
}

#[test]
fn all_channels_of_a_recorded_migration_are_read_together_by_every_command() {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    for (name, others) in [
        ("7.2-q35-multifd-live", &["0", "1"][..]),
        ("10.0-q35-multifd-live", &["1", "0"]),
        ("10.0-q35-multifd-zstd-live", &["0", "1"]),
        ("10.0-q35-postcopy-preempt", &["preempt"]),
    ] {
        let unpacked = |part: &str| {
            let packed = File::open(folder.join(format!("{name}.{part}.zst"))).expect("it opens");
            zstd::decode_all(packed).expect("it is unpacked")
        };
        place.put("main", &unpacked("main"));
        let mut all = String::from("file:main");
        for (number, part) in others.iter().enumerate() {
            // Channels that were recorded through a compressor are read as they are.
            let bytes = match number {
                0 => unpacked(part),
                _ => zstd::encode_all(&unpacked(part)[..], 1).expect("memory takes all"),
            };
            place.put(part, &bytes);
            all += &format!(",channel={part}");
        }
        // Of a machine that moved before its pages, no description tells the ends of the devices.
        let described = !name.contains("postcopy");
        let mut commands = vec![
            format!("inspect {all}"),
            format!("inspect {all} --json"),
            format!("verify {all}"),
            format!("export {all} --format blocks -o blocks --force"),
            format!("map {all} -o map.png --force"),
            format!("report {all} -o report.html --force"),
            format!("diff {all} {all}"),
        ];
        if described {
            commands.push(format!("convert {all} --to stream -o stream --force"));
            commands.push(format!("diff {all} stream"));
            commands.push(format!("diff stream {all}"));
        }
        for words in &commands {
            let output = place.run(words);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(ended(words, &output), 0, "{name}: {words}: {stderr}");
            assert!(
                !stderr.contains("taken for zeros"),
                "{name}: {words}: {stderr}"
            );
        }
        let inspected = place.run(&format!("inspect {all} --json"));
        let inspected: Value = serde_json::from_slice(&inspected.stdout).expect("it is JSON");
        let channels = inspected["channels"].as_array().expect("a list");
        // They were recorded in any order.
        let bytes = |channel: &Value| channel["bytes"].as_u64().expect("a number");
        let mut read: Vec<_> = channels.iter().map(bytes).collect();
        let lens = others.iter().map(|part| unpacked(part).len() as u64);
        let mut recorded: Vec<_> = lens.collect();
        read.sort_unstable();
        recorded.sort_unstable();
        assert_eq!(read, recorded, "{name}");
        // Without one of them, it is no whole machine.
        for words in ["verify main", "inspect main"] {
            let alone = place.run(words);
            assert_ne!(ended(words, &alone), 2, "{name}: {words}");
            let said = [alone.stdout, alone.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(
                said.contains("channel=FILE,channel=FILE"),
                "{words}: {said}"
            );
        }
        if described {
            let without = place.run("verify file:main,channel=1");
            assert_eq!(ended("verify", &without), 2, "{name}");
            let stderr = String::from_utf8_lossy(&without.stderr);
            assert!(
                stderr.contains("not the channels of one migration"),
                "{stderr}"
            );
            assert!(stderr.contains("the ids from 0 to 0"), "{stderr}");
        }
    }
    let twice = place.run("inspect file:main,channel=preempt,channel=preempt");
    assert_eq!(ended("inspect", &twice), 2);
    let stderr = String::from_utf8_lossy(&twice.stderr);
    assert!(stderr.contains("11 22 33 44"), "{stderr}");
    let missing = place.run("inspect file:main,channel=nothing");
    assert_eq!(ended("inspect", &missing), 2);
    let stderr = String::from_utf8_lossy(&missing.stderr);
    assert!(stderr.contains("cannot open nothing"), "{stderr}");
}
