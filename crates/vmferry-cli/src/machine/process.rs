//! QEMU's process, as the system shows it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

/// What the system says of a process; what it does not let us see is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// The program's file.
    pub exe: Option<PathBuf>,
    /// The working directory.
    pub cwd: Option<PathBuf>,
    /// The arguments, the program's name first.
    pub command_line: Vec<String>,
}

impl Process {
    /// Looks at a process.
    pub fn look(pid: Pid) -> Self {
        let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
        let arguments = arguments.strip_suffix(b"\0").unwrap_or(&arguments);
        let words = arguments.split(|byte| *byte == 0);
        let command_line = match arguments {
            [] => Vec::new(),
            _ => words
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect(),
        };
        Self {
            exe: fs::read_link(folder.join("exe")).ok(),
            cwd: fs::read_link(folder.join("cwd")).ok(),
            command_line,
        }
    }

    /// The architecture that this QEMU emulates, from its name.
    pub fn architecture(&self) -> Option<&str> {
        let name = self.exe.as_ref()?.file_name()?.to_str()?;
        name.strip_prefix("qemu-system-")
    }
}

/// A process, told apart from a later one that has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it was started, in clock ticks since the system was.
    pub start: u64,
}

impl ProcessId {
    /// The process that has this number now, if there is one.
    pub fn of(pid: Pid) -> Option<Self> {
        let stat = Stat::read(pid)?;
        let start = stat.word(19)?.parse().ok()?;
        let pid = pid.as_raw_nonzero().get();
        Some(Self { pid, start })
    }

    /// This process.
    pub fn ours() -> Option<Self> {
        Self::of(rustix::process::getpid())
    }

    /// Whether it still runs. A process that is dead and not yet waited for does not.
    pub fn is_alive(self) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return false;
        };
        let dead = |stat: Stat| matches!(stat.word(0), Some("Z" | "X"));
        Self::of(pid) == Some(self) && !Stat::read(pid).is_none_or(dead)
    }
}

/// What `/proc/PID/stat` says after the name.
struct Stat(String);

impl Stat {
    fn read(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name, in parentheses, may hold anything.
        let (_, rest) = stat.rsplit_once(')')?;
        Some(Self(rest.to_owned()))
    }

    fn word(&self, number: usize) -> Option<&str> {
        self.0.split_whitespace().nth(number)
    }
}

/// The QEMU that started us, if one of our ancestors is one: with `migrate "exec:…"` it is our parent
/// or, behind a shell, our grandparent.
pub fn qemu_above() -> Option<Process> {
    let mut pid = rustix::process::getppid()?;
    // A shell or two, and whatever wraps them.
    for _ in 0..8 {
        let process = Process::look(pid);
        let name = process.exe.as_ref().and_then(|exe| exe.file_name());
        if name.is_some_and(|name| name.as_bytes().starts_with(b"qemu")) {
            return Some(process);
        }
        pid = parent(pid)?;
    }
    None
}

/// The processes that `pid` has started and that are still its own.
#[cfg(feature = "faults")]
pub fn children(pid: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|child| parent(*child) == Some(pid))
        .collect()
}

fn parent(pid: Pid) -> Option<Pid> {
    Pid::from_raw(Stat::read(pid)?.word(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_with_its_arguments_and_folder() {
        let us = Process::look(rustix::process::getpid());
        assert_eq!(us.exe, std::env::current_exe().ok());
        assert_eq!(us.cwd, std::env::current_dir().ok());
        assert_eq!(us.command_line, std::env::args().collect::<Vec<_>>());
        assert_eq!(
            parent(rustix::process::getpid()),
            rustix::process::getppid()
        );
    }

    #[test]
    fn a_process_is_alive_until_it_ends_and_is_not_another_with_its_number() {
        let us = ProcessId::ours().unwrap();
        assert!(us.is_alive());
        let later = ProcessId {
            start: us.start + 1,
            ..us
        };
        assert!(!later.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = ProcessId::of(Pid::from_child(&child));
        child.wait().unwrap();
        assert!(!id.unwrap().is_alive());
    }
}
