//! The processes of a save.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::process::command_line;
use crate::vmferry::Run;
use crate::{Guest, wait};

/// What a process does in a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads the stream into the store.
    Saver,
    /// Watches over it. So does a child that has not become anything else yet.
    Guardian,
    /// QEMU's shell, or what it runs.
    Shell,
}

/// One of them. What it is called does not pass to another process while this is there.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) pid: Pid,
    pidfd: OwnedFd,
}

/// A save, and all that it has started.
#[derive(Debug)]
pub(super) enum Family<'a> {
    /// Started by us.
    Ours(&'a Run),
    /// Started by a guest's QEMU.
    Of(&'a Guest),
}

impl Family<'_> {
    /// Those that are there now.
    pub(super) fn members(&self) -> Vec<Member> {
        let first = match self {
            Self::Ours(run) => Some(run.process().id()),
            Self::Of(_) => None,
        };
        let pids = match self {
            Self::Ours(run) => run.process().family(),
            Self::Of(guest) => guest.family(),
        };
        let member = |pid: Pid| {
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            let number = u32::try_from(pid.as_raw_nonzero().get()).ok()?;
            // One without words has ended, and only waits to be reaped.
            let words = command_line(number)
                .ok()
                .filter(|words| words.iter().any(|word| !word.is_empty()))?;
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
            Some(Member {
                role: role(&words, first == Some(number)),
                pid,
                pidfd,
            })
        };
        pids.into_iter().filter_map(member).collect()
    }

    /// Waits until there is one in a role, or the save is over.
    pub(super) fn wait_for(&self, role: Role, patience: Duration) -> Vec<Member> {
        let deadline = Instant::now() + patience;
        loop {
            let mut members = self.members();
            let over = match self {
                Self::Ours(run) => !run.process().is_running(),
                Self::Of(_) => false,
            };
            let found = members.iter().any(|member| member.role == role);
            if found || over || Instant::now() > deadline {
                members.retain(|member| member.role == role);
                return members;
            }
            std::thread::yield_now();
        }
    }

    /// Kills what is left of it.
    pub(super) fn end(&self) {
        for member in self.members() {
            let _ = member.signal(Signal::KILL);
        }
    }
}

impl Member {
    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits until it ends: whether it did.
    pub(super) fn ends_before(&self, deadline: Instant) -> bool {
        wait::readable(&self.pidfd, deadline).unwrap_or(true)
    }

    /// What it is, and what each of its threads waits for in the kernel.
    pub(super) fn describe(&self) -> String {
        let folder = format!("/proc/{}", self.pid.as_raw_nonzero());
        format!(
            "{:?} {}: {}",
            self.role,
            self.pid.as_raw_nonzero(),
            threads(&folder)
        )
    }
}

/// What the threads of a process wait for in the kernel.
pub(super) fn threads(process: &str) -> String {
    let tasks = fs::read_dir(format!("{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let read = |task: &fs::DirEntry, name: &str| {
        let text = fs::read_to_string(task.path().join(name)).unwrap_or_default();
        text.trim().to_owned()
    };
    let thread = |task: fs::DirEntry| {
        let state = read(&task, "stat");
        let state = state
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.get(..1))
            .unwrap_or("?")
            .to_owned();
        let call = read(&task, "syscall");
        let call = call.split(' ').take(3).collect::<Vec<_>>().join(" ");
        format!(
            "{} {state} {} (call {call})",
            read(&task, "comm"),
            read(&task, "wchan")
        )
    };
    tasks.map(thread).collect::<Vec<_>>().join("; ")
}

fn role(words: &[&str], first: bool) -> Role {
    let program = words.first().and_then(|program| program.rsplit('/').next());
    let has = |word: &str| words.contains(&word);
    if has("--guarded") {
        Role::Saver
    } else if has("guardian") {
        Role::Guardian
    } else if first {
        Role::Saver
    } else if program.is_some_and(|name| name.starts_with("vmferry") || name == "exe") {
        Role::Guardian
    } else {
        Role::Shell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_known_by_the_command_line() {
        let role = |line: &str, first| role(&line.split(' ').collect::<Vec<_>>(), first);
        assert_eq!(role("setpriv --pdeathsig KILL -- sh", true), Role::Saver);
        assert_eq!(
            role("/t/vmferry --store /s save guest --qmp unix:/q", true),
            Role::Saver
        );
        assert_eq!(
            role("/t/vmferry --store /s save guest --qmp unix:/q", false),
            Role::Guardian
        );
        assert_eq!(role("/proc/self/exe guardian", false), Role::Guardian);
        assert_eq!(
            role("/t/vmferry --store /s save guest --stdin", false),
            Role::Guardian
        );
        assert_eq!(
            role(
                "/proc/self/exe --store /s save guest --stdin --guarded",
                false
            ),
            Role::Saver
        );
        assert_eq!(
            role("/t/vmferry-0.1 save guest --stdin", false),
            Role::Guardian
        );
        assert_eq!(role("sh -c /t/vmferry…", false), Role::Shell);
        assert_eq!(role("cat", false), Role::Shell);
    }
}
