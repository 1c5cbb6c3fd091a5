//! The bytes in `docs/wire.md` are those of real streams, and what it says of messages is what the
//! codecs do.

use std::path::Path;

use vmferry::wire::SliceSource;
use vmferry::wire::command::Command;
use vmferry::wire::return_path::Message;

/// The fenced blocks of the document whose info string begins with `kind`, each with the rest of it.
fn blocks(kind: &str) -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/wire.md")).expect("the document is there");
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) else {
            continue;
        };
        let content: Vec<_> = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .map(str::to_owned)
            .collect();
        let (word, rest) = info.split_once(' ').unwrap_or((info, ""));
        if word == kind {
            blocks.push((rest.to_owned(), content));
        }
    }
    blocks
}

/// Bytes in hexadecimal, up to two spaces.
fn bytes(line: &str) -> Vec<u8> {
    let hex = line.split("  ").next().unwrap_or_default();
    hex.split(' ')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{line}: {byte:?}")))
        .collect()
}

#[test]
fn the_vectors_of_the_document_are_in_the_streams() {
    let streams = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/streams");
    let mut versions = (0, 0);
    for (name, lines) in blocks("vectors") {
        // A stream, or one of several channels.
        let file = std::fs::read(streams.join(format!("{name}.stream.zst")))
            .or_else(|_| std::fs::read(streams.join(format!("{name}.zst"))))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let stream = zstd::decode_all(&*file).expect("a golden stream is a zstd frame");
        for line in &lines {
            let (offset, rest) = line.split_once("  ").expect("an offset and bytes");
            let at = usize::from_str_radix(offset, 16).unwrap_or_else(|_| panic!("{line}"));
            let expected = bytes(rest);
            let found = stream.get(at..at + expected.len());
            assert_eq!(found, Some(&expected[..]), "{name}: {line}");
        }
        match name.split_once('-') {
            Some(("7.2", _)) => versions.0 += lines.len(),
            Some(("10.0", _)) => versions.1 += lines.len(),
            _ => panic!("{name} is of no known version"),
        }
    }
    assert!(versions.0 > 10 && versions.1 > 20, "{versions:?}");
}

#[test]
fn the_commands_of_the_document_are_read_and_written_back() {
    let lines: Vec<_> = blocks("commands")
        .into_iter()
        .flat_map(|(_, l)| l)
        .collect();
    for line in &lines {
        let expected = bytes(line);
        let mut source = SliceSource::new(&expected[1..]);
        let command =
            Command::decode(&mut source).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(source.rest(), b"", "{line}");
        let mut written = Vec::new();
        command.encode(&mut written);
        assert_eq!(written, expected, "{line}");
    }
    assert_eq!(
        lines.len(),
        9,
        "one line of each kind that stands in the document"
    );
}

#[test]
fn the_messages_of_the_document_are_read_and_written_back() {
    let lines: Vec<_> = blocks("messages")
        .into_iter()
        .flat_map(|(_, l)| l)
        .collect();
    for line in &lines {
        let expected = bytes(line);
        let mut source = SliceSource::new(&expected);
        let message =
            Message::decode(&mut source).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(source.rest(), b"", "{line}");
        let mut written = Vec::new();
        message.encode(&mut written);
        assert_eq!(written, expected, "{line}");
    }
    assert_eq!(
        lines.len(),
        7,
        "one line of each kind that stands in the document"
    );
}
