//! Files that hold more than their stream: volumes, padded files, an older stream after it. Every command takes them as
//! QEMU does, and says once what it did not look at.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const AFTER: usize = 70_001;
const NOTE: &str = "70001 bytes after the end of the stream were not looked at";

fn golden(name: &str) -> Vec<u8> {
    let streams = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let file = File::open(streams.join(format!("{name}.zst"))).expect(name);
    zstd::decode_all(file).expect("it is unpacked")
}

/// A stream alone, and in volumes with something after it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let stream = golden("10.0-pc-small.stream");
    let older = golden("10.0-q35-small.stream");
    let older = &older[older.len() - AFTER..];
    let put = |name: &str, after: &[u8]| {
        let bytes = [&stream[..], after].concat();
        std::fs::write(folder.path().join(name), bytes).expect("it is written");
    };
    put("alone", b"");
    put("zeros", &[0; AFTER]);
    put("older", older);
    folder
}

fn run(folder: &Path, words: &str) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_vmferry"))
        .args(words.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .output();
    output.expect("vmferry runs")
}

/// What a command that succeeds prints, and what it says on standard error.
fn succeeds(folder: &Path, words: &str) -> (String, String) {
    let output = run(folder, words);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words}: {stderr}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), stderr)
}

fn said(text: &str) -> usize {
    text.matches(NOTE).count()
}

#[test]
fn what_comes_after_the_end_is_a_note_and_no_damage() {
    let folder = folder();
    for name in ["zeros", "older"] {
        let (text, _) = succeeds(folder.path(), &format!("verify {name}"));
        assert_eq!(said(&text), 1, "{text}");
        let (json, _) = succeeds(folder.path(), &format!("verify {name} --json"));
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            (&json["sound"], &json["damages"][0]),
            (&true.into(), &Value::Null)
        );
        assert_eq!(said(&json["not_proven"].to_string()), 1, "{json}");

        let (text, _) = succeeds(folder.path(), &format!("inspect {name}"));
        assert_eq!(said(&text), 1, "{text}");
        let (json, _) = succeeds(folder.path(), &format!("inspect {name} --json"));
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            (&json["whole"], &json["error"]),
            (&true.into(), &Value::Null)
        );
        assert_eq!(said(&json["notes"].to_string()), 1, "{json}");
        let size = std::fs::metadata(folder.path().join("alone"))
            .expect("it is there")
            .len();
        assert_eq!(json["stream_bytes"], size);
    }
}

#[test]
fn what_is_made_of_it_is_the_machine_alone() {
    let folder = folder();
    let made = |name: &str, words: &str, what: &str| {
        let (_, said_of_it) = succeeds(
            folder.path(),
            &format!("{words} -o {name}.{what}").replace("NAME", name),
        );
        let bytes =
            std::fs::read(folder.path().join(format!("{name}.{what}"))).expect("it was made");
        (said(&said_of_it), said_of_it, bytes)
    };
    for (what, words) in [
        ("stream", "convert NAME --to stream"),
        ("mapped", "convert NAME --to mapped-ram"),
        ("raw", "export NAME --format raw"),
        ("core", "export NAME --format elf"),
    ] {
        let (_, _, alone) = made("alone", words, what);
        for name in ["zeros", "older"] {
            let (notes, text, bytes) = made(name, words, what);
            assert_eq!(notes, 1, "{words}: {text}");
            assert!(!text.contains("warning:"), "{words}: {text}");
            assert!(bytes == alone, "{words} of {name}");
        }
    }
    for name in ["zeros", "older"] {
        succeeds(folder.path(), &format!("diff alone {name}"));
        succeeds(
            folder.path(),
            &format!("export {name} --format raw --rescue --force -o rescued"),
        );
        succeeds(folder.path(), &format!("report {name} -o {name}.html"));
        succeeds(folder.path(), &format!("map {name} -o {name}.png"));
    }
}
