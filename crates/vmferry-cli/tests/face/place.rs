//! A folder of its own, in which commands are run and what they say is written down.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata");

/// A folder with nothing of the user's around it, and a transcript.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    transcript: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            folder,
            transcript: String::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    /// Puts a copy of the golden store of format version 1 there.
    pub(crate) fn put_golden_store(&self, name: &str) {
        fn copy(from: &Path, to: &Path) {
            fs::create_dir_all(to).expect("a folder");
            for entry in fs::read_dir(from).expect("testdata is there") {
                let entry = entry.expect("testdata is readable");
                let to = to.join(entry.file_name());
                if entry.path().is_dir() {
                    copy(&entry.path(), &to);
                } else {
                    fs::write(to, fs::read(entry.path()).expect("it is readable")).expect("a file");
                }
            }
        }
        copy(&Path::new(TESTDATA).join("store-v1"), &self.path(name));
    }

    /// Runs `vmferry` with words that have no spaces in them.
    pub(crate) fn run(&mut self, words: &str) -> &mut Self {
        self.run_with(words, &[], b"")
    }

    pub(crate) fn run_with(
        &mut self,
        words: &str,
        environment: &[(&str, &str)],
        input: &[u8],
    ) -> &mut Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmferry"));
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.path("home"))
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("vmferry starts");
        // One that wants no input may have gone already.
        let _ = child.stdin.take().expect("it is piped").write_all(input);
        let output = child.wait_with_output().expect("vmferry ends");
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).expect("what is said is text");
            let folder = self.folder.path().to_str().expect("it is text");
            text.replace(folder, "[DIR]")
        };
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let transcript = &mut self.transcript;
        let variables: String = environment
            .iter()
            .map(|(name, value)| format!("{name}={value} "))
            .collect();
        let _ = writeln!(transcript, "$ {variables}vmferry {words}");
        transcript.push_str(&out);
        if !out.is_empty() && !out.ends_with('\n') {
            transcript.push_str("[no end of line]\n");
        }
        for line in err.lines() {
            let _ = writeln!(transcript, "2> {line}");
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => {
                let _ = writeln!(transcript, "exit status {code}");
            }
            None => panic!("vmferry {words}: {}", output.status),
        }
        transcript.push('\n');
        self
    }

    /// What `vmferry` writes to its standard output, which need not be text.
    pub(crate) fn output(&self, words: &str) -> Vec<u8> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmferry"));
        command
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.path("home"));
        let output = command.output().expect("vmferry runs");
        assert!(output.status.success(), "vmferry {words}: {output:?}");
        output.stdout
    }

    pub(crate) fn transcript(&self) -> &str {
        self.transcript.trim_end()
    }
}

/// A stream that a real QEMU wrote.
pub(crate) fn stream(name: &str) -> Vec<u8> {
    let path = Path::new(TESTDATA)
        .join("streams")
        .join(format!("{name}.stream.zst"));
    zstd::decode_all(fs::File::open(path).expect("testdata is there")).expect("it is unpacked")
}
