//! The program `lzop`, which no library stands in for.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::decode::Decode;
use super::input::Input;
use crate::container::Findings;

/// The exit status with which `lzop` warns; all that it could read was read.
const WARNED: i32 = 2;

/// The most of what `lzop` says that is looked at.
const SAID: u64 = 1 << 10;

pub(super) fn command(option: &str) -> Command {
    let mut command = Command::new("lzop");
    command.arg(option).stderr(Stdio::null());
    command
}

pub(super) fn needs_lzop(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::NotFound,
            "the program 'lzop' is needed for this: install it (Debian: apt-get install lzop)",
        ),
        _ => error,
    }
}

/// The output of `lzop`, to which a thread feeds what is compressed.
pub(super) struct Lzop {
    child: Child,
    output: ChildStdout,
    /// What it says: a file, so that it never waits for somebody to listen.
    said: File,
    /// Why its input ended early.
    failure: Arc<Mutex<Option<io::Error>>>,
    has_failed: bool,
    findings: Findings,
}

impl Lzop {
    pub(super) fn new(input: Input, findings: Findings) -> io::Result<Self> {
        let said = tempfile::tempfile()?;
        let mut command = command("-dc");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said.try_clone()?);
        // A signal to our group is ours to handle.
        let mut child = command.process_group(0).spawn().map_err(needs_lzop)?;
        let (stdin, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or(io::ErrorKind::BrokenPipe)?;
        let failure = Arc::default();
        if let Some(stdin) = stdin {
            let failure = Arc::clone(&failure);
            let feeder = std::thread::Builder::new().name("lzop".into());
            feeder.spawn(move || feed(input, stdin, &failure))?;
        }
        Ok(Self {
            child,
            output,
            said,
            failure,
            has_failed: false,
            findings,
        })
    }

    /// How it went, once it has closed its output.
    fn end(&mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = failure.take() {
            self.has_failed = true;
            return Err(failure);
        }
        match status.code() {
            Some(0) => Ok(()),
            Some(WARNED) => {
                let said = said(&mut self.said);
                self.findings.note(format!("lzop warns: {said}"));
                Ok(())
            }
            _ => Err(io::Error::other(match said(&mut self.said) {
                said if said.is_empty() => format!("lzop failed: {status}"),
                said => said,
            })),
        }
    }
}

impl Decode for Lzop {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.output.read(room)?;
        if read == 0 {
            self.end()?;
        }
        Ok(read)
    }

    fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.has_failed)
    }
}

impl Drop for Lzop {
    fn drop(&mut self) {
        // It may wait for an input that never comes; where it has ended, these do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Until the input ends, or nobody wants more.
fn feed(mut input: Input, mut to: impl Write, failure: &Mutex<Option<io::Error>>) {
    loop {
        let len = match input.fill_buf() {
            Ok([]) => return,
            Ok(bytes) => match to.write_all(bytes) {
                Ok(()) => bytes.len(),
                Err(_) => return,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
        };
        input.consume(len);
    }
}

/// The last line that it said, without its name and that of its input.
fn said(file: &mut File) -> String {
    let mut text = Vec::new();
    // Without it, the exit status alone tells.
    let _ = file.rewind();
    let _ = file.take(SAID).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let line = text
        .lines()
        .rfind(|line| !line.is_empty())
        .unwrap_or_default();
    let line = line.strip_prefix("lzop: ").unwrap_or(line);
    let line = line.strip_prefix("<stdin>: ").unwrap_or(line);
    let line = line.strip_prefix("warning: ").unwrap_or(line);
    // It says this of its standard input where the data ends early.
    if line.starts_with("Inappropriate ioctl") || line.starts_with("unexpected end of file") {
        return "it ends early".into();
    }
    line.replace(|c: char| c.is_control(), "?")
}
