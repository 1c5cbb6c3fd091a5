//! QEMU's process, as the system shows it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::process::Pid;

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

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, in parentheses, may hold anything; the parent is the second word behind it.
    let behind_name = stat.get(stat.rfind(')')? + 1..)?;
    Pid::from_raw(behind_name.split_whitespace().nth(1)?.parse().ok()?)
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
}
