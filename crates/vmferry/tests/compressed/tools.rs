//! The programs, and our reading, asked the same question.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};

use vmferry::container::{self, ContainerError};
use vmferry::error::Error;
use vmferry::stream::Reader;

/// A codec's own program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    /// What it takes in any case.
    options: &'static [&'static str],
    /// Exit statuses with which it gives everything, and at most warns.
    sound: &'static [i32],
}

impl Tool {
    pub(crate) const GZIP: Self = Self::new("gzip", &[0, 2]);
    pub(crate) const BZIP2: Self = Self::new("bzip2", &[0]);
    pub(crate) const XZ: Self = Self::new("xz", &[0, 2]);
    pub(crate) const LZOP: Self = Self::new("lzop", &[0, 2]);
    pub(crate) const ZSTD: Self = Self::new("zstd", &[0]);
    pub(crate) const LZ4: Self = Self::new("lz4", &[0]);
    pub(crate) const LZMA: Self = Self {
        options: &["--format=lzma"],
        ..Self::XZ
    };

    pub(crate) const ALL: [Self; 7] = [
        Self::GZIP,
        Self::BZIP2,
        Self::XZ,
        Self::LZMA,
        Self::LZOP,
        Self::ZSTD,
        Self::LZ4,
    ];

    const fn new(program: &'static str, sound: &'static [i32]) -> Self {
        Self {
            program,
            options: &[],
            sound,
        }
    }

    /// What it makes of `bytes` with more options, between which there are blanks.
    pub(crate) fn compress(self, options: &str, bytes: &[u8]) -> Vec<u8> {
        let mut command = Command::new(self.program);
        command.args(self.options).args(options.split_whitespace());
        let (code, out) = run(command.arg("-c"), bytes);
        assert_eq!(code, 0, "{} {options}", self.program);
        out
    }

    /// What it gives for `bytes`; `None` where it calls them damaged.
    pub(crate) fn decompress(self, bytes: &[u8]) -> Option<Vec<u8>> {
        // Without the options: xz finds out by itself.
        let (code, out) = run(Command::new(self.program).arg("-dc"), bytes);
        self.sound.contains(&code).then_some(out)
    }
}

fn run(command: &mut Command, input: &[u8]) -> (i32, Vec<u8>) {
    let mut out = tempfile::tempfile().expect("a file");
    // A pipe: over a file, lz4 does not see where a skippable frame is cut.
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    command.stdout(out.try_clone().expect("a file"));
    let mut child = command.spawn().unwrap_or_else(|error| {
        let program = command.get_program().to_string_lossy();
        panic!("{program}: {error}; './x test' installs what is missing")
    });
    if let Some(mut stdin) = child.stdin.take() {
        // It may have seen enough before the end.
        let _ = stdin.write_all(input);
    }
    let status = child.wait().expect("it was started");
    let mut bytes = Vec::new();
    out.rewind().expect("a file");
    out.read_to_end(&mut bytes).expect("a file");
    (status.code().unwrap_or(-1), bytes)
}

pub(crate) fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("room");
    file.rewind().expect("a file");
    file
}

/// What we give for `bytes`, and how it ends.
pub(crate) fn ours(bytes: &[u8]) -> (Vec<u8>, Result<(), String>) {
    let mut out = Vec::new();
    let end = read(bytes, &mut out);
    (out, end)
}

fn read(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let opened = match container::open(file_with(bytes), 0) {
        // Nothing, compressed.
        Err(ContainerError::Foreign(foreign)) if foreign.what() == "an empty file" => return Ok(()),
        opened => opened.map_err(|error| {
            assert!(error.is_damage(), "{error}");
            error.to_string()
        })?,
    };
    let mut reader = Reader::new(opened.stream);
    loop {
        let there = reader.peek_up_to(1).map(|_| ()).map_err(Error::from);
        let len = reader.buffered().len();
        out.extend_from_slice(reader.buffered());
        there.map_err(|error| {
            assert!(error.is_damage(), "{error:?}");
            error.to_string()
        })?;
        if len == 0 {
            return Ok(());
        }
        std::io::BufRead::consume(&mut reader, len);
    }
}

/// What is compressed: it begins as a stream does, and has parts of every kind.
pub(crate) fn content() -> Vec<u8> {
    let mut content = b"QEVM\0\0\0\x03".to_vec();
    content.extend(b"the quick brown fox ".repeat(10));
    let mut word = 1_u32;
    for _ in 0..120 {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        content.push((word >> 24) as u8);
    }
    content.extend([0; 300]);
    content
}
