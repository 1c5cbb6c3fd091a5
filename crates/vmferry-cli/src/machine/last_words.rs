//! What a QEMU says on its standard error: why it refuses a state is said nowhere else.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::ChildStderr;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, bounded};
use rustix::process::Pid;

/// The most that is kept, or read, of what is said.
const KEPT: usize = 16 << 10;

/// The most that is shown of it.
const SHOWN: usize = 1500;

/// The standard error of a QEMU, from a moment on.
#[derive(Debug)]
pub enum LastWords {
    /// It goes through our hands, and on to our own.
    Passed(Arc<Mutex<Vec<u8>>>, Receiver<()>),
    /// It goes into a file, and had this length at the moment.
    Log(File, u64),
    /// It goes somewhere else, which has this name.
    Elsewhere(String),
    /// It is not known where it goes.
    Unknown,
}

impl LastWords {
    /// Those of a QEMU that we have started; they are passed on.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn pass_on(mut stderr: ChildStderr) -> std::io::Result<Self> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let ours = Arc::clone(&kept);
        let (sender, ended) = bounded(1);
        std::thread::Builder::new()
            .name("stderr".into())
            .spawn(move || {
                let _sender = sender;
                let mut piece = [0; 4096];
                while let Ok(len @ 1..) = stderr.read(&mut piece) {
                    let _ = std::io::stderr().write_all(&piece[..len]);
                    let mut kept = ours.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(&piece[..len]);
                    let old = kept.len().saturating_sub(KEPT);
                    kept.drain(..old);
                }
            })?;
        Ok(Self::Passed(kept, ended))
    }

    /// Those of a process of somebody else's.
    pub fn of(pid: Option<Pid>) -> Self {
        let Some(pid) = pid else {
            return Self::Unknown;
        };
        let descriptor = format!("/proc/{}/fd/2", pid.as_raw_nonzero());
        let Ok(leads_to) = fs::read_link(&descriptor) else {
            return Self::Unknown;
        };
        let elsewhere = || Self::Elsewhere(leads_to.display().to_string());
        // A pipe or a terminal is not ours to read from.
        match fs::metadata(&descriptor) {
            Ok(there) if there.is_file() => match File::open(&descriptor) {
                Ok(file) => Self::Log(file, there.len()),
                Err(_) => elsewhere(),
            },
            _ => elsewhere(),
        }
    }

    /// What was said, in one line and without the program's name; `None` if nothing was, or it cannot be seen.
    pub fn said(&self) -> Option<String> {
        let bytes = match self {
            Self::Passed(kept, ended) => {
                // It may have said more than has come through.
                let _ = ended.recv_timeout(std::time::Duration::from_millis(500));
                kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }
            Self::Log(file, from) => {
                let end = file.metadata().ok()?.len();
                // Somebody may have emptied it.
                let from = if *from > end { 0 } else { *from };
                let from = from.max(end.saturating_sub(KEPT as u64));
                let mut bytes = vec![0; usize::try_from(end - from).ok()?];
                file.read_exact_at(&mut bytes, from).ok()?;
                bytes
            }
            Self::Elsewhere(_) | Self::Unknown => return None,
        };
        in_one_line(&String::from_utf8_lossy(&bytes))
    }

    /// Where a person finds it, if it cannot be seen from here.
    pub fn elsewhere(&self) -> Option<String> {
        match self {
            Self::Passed(..) | Self::Log(..) => None,
            Self::Elsewhere(place) => Some(format!("on its standard error ({place})")),
            Self::Unknown => Some("on its standard error".into()),
        }
    }
}

/// The lines that are no warnings, without the name of the program and the time before it.
fn in_one_line(text: &str) -> Option<String> {
    let said = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = said.map(|line| match line.split_once(": ") {
        Some((before, said)) if before.contains("qemu") => said,
        _ => line,
    });
    let lines: Vec<_> = said.filter(|line| !line.starts_with("warning:")).collect();
    let line = lines.join("; ");
    let long = line.char_indices().nth(SHOWN);
    match (line.is_empty(), long) {
        (true, _) => None,
        (false, None) => Some(line),
        // The first line names the cause.
        (false, Some((end, _))) => Some(format!("{}…", &line[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_says_is_told_without_its_name_and_its_warnings() {
        // As QEMU 7.2 says it, and with '-msg timestamp=on'.
        let said = "qemu-system-x86_64: warning: nic x has no peer\n\
            qemu-system-x86_64: Unknown ramblock \"pc.ram\", cannot accept migration\n\n\
            2026-11-28T12:00:00.5Z qemu-system-x86_64: load of migration failed: Invalid argument\n\
            Is another process using the image [/a]?\n";
        assert_eq!(
            in_one_line(said).unwrap(),
            "Unknown ramblock \"pc.ram\", cannot accept migration; load of migration failed: Invalid argument; \
             Is another process using the image [/a]?"
        );
        assert_eq!(in_one_line("qemu-system-x86_64: warning: x\n\n"), None);
        assert_eq!(
            in_one_line(&"é".repeat(2000)).unwrap().chars().count(),
            SHOWN + 1
        );
    }

    #[test]
    fn of_a_log_only_what_came_since_is_told() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(b"qemu: before\n").unwrap();
        let words = LastWords::Log(log.reopen().unwrap(), 13);
        assert_eq!(words.said(), None);
        log.write_all(b"qemu: since\n").unwrap();
        assert_eq!(words.said().as_deref(), Some("since"));
    }
}
