//! What a stream goes through on its way from QEMU to us.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Pid;
use vmferry::channel::{Duplex, Follow, FollowHandle, Shutdown, Socket};
use vmferry_store::Writer;
use vmferry_store::manifest::SaveMode;

use super::intake::Intake;
use crate::args::SnapshotChannel;
use crate::guardian::Ending;
use crate::qmp;

/// Our end of a channel, to be read once.
pub(super) enum Channel {
    /// A socket: QEMU waits for its reader.
    Socket(UnixStream),
    /// A file in memory that QEMU writes to, which waits for nobody, so a snapshot that loses its reader is
    /// no danger to the guest. What was read is given back.
    Memory(File),
}

/// What other threads can do with a channel that is being read.
pub(super) enum ChannelHandle {
    Socket,
    Memory(FollowHandle),
}

impl Channel {
    /// The channel for a save in this mode, and QEMU's end of it.
    pub(super) fn new(
        mode: &SaveMode,
        wanted: SnapshotChannel,
        version: &qmp::Version,
        qemu: Option<Pid>,
    ) -> io::Result<(Self, OwnedFd, Ending)> {
        let in_memory = *mode == SaveMode::Snapshot && wanted == SnapshotChannel::Memory;
        if in_memory && qemu.is_some_and(may_write_much) {
            let memory = File::from(memfd_create("vmferry-save", MemfdFlags::CLOEXEC)?);
            let theirs = memory.as_fd().try_clone_to_owned()?;
            return Ok((Self::Memory(memory), theirs, Ending::Outlast));
        }
        let (ours, theirs) = UnixStream::pair()?;
        let ending = match mode {
            SaveMode::Snapshot => Ending::of_snapshot(version),
            _ => Ending::Close,
        };
        Ok((Self::Socket(ours), theirs.into(), ending))
    }

    /// For the guardian.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            Self::Memory(file) => file.as_fd(),
        }
    }

    /// Begins to read it into the store.
    pub(super) fn read_into(&self, writer: Writer) -> io::Result<(Intake, ChannelHandle)> {
        match self {
            Self::Socket(socket) => {
                let (reader, _) = Socket::from(socket.try_clone()?).split();
                Ok((Intake::start(reader, writer)?, ChannelHandle::Socket))
            }
            Self::Memory(file) => {
                let follow = Follow::new(file.try_clone()?);
                let handle = ChannelHandle::Memory(follow.handle());
                Ok((Intake::start(follow, writer)?, handle))
            }
        }
    }
}

impl ChannelHandle {
    /// QEMU writes no more.
    pub(super) fn finish(&self) {
        if let Self::Memory(follow) = self {
            follow.finish();
        }
        // The end of a socket shows by itself.
    }

    /// Ends the reading, wherever it is.
    pub(super) fn abort(&self) {
        // A socket's end is the business of the `Ender`, which may have to drain it.
        if let Self::Memory(follow) = self {
            let _ = follow.shutdown();
        }
    }

    /// Bytes that have been read, and bytes that QEMU is ahead of that, where it does not wait for us.
    pub(super) fn read_and_ahead(&self) -> Option<(u64, u64)> {
        match self {
            Self::Socket => None,
            Self::Memory(follow) => Some((follow.read(), follow.behind().ok()?)),
        }
    }
}

/// Whether a process may write a file of any size. Where it may not, a write to a file can fail that does
/// not fail to a socket.
fn may_write_much(pid: Pid) -> bool {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero()));
    let limits = limits.unwrap_or_default();
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max file size"));
    limit.is_some_and(|limit| limit.split_whitespace().next() == Some("unlimited"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_whose_files_may_grow_gets_one() {
        let mut limited = std::process::Command::new("sh")
            .args(["-c", "ulimit -f 1000 && echo && exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // The limit is set once it has said something.
        let mut word = [0];
        io::Read::read_exact(&mut limited.stdout.take().unwrap(), &mut word).unwrap();
        assert!(!may_write_much(Pid::from_child(&limited)));
        drop(limited.stdin.take());
        limited.wait().unwrap();
        assert!(may_write_much(rustix::process::getpid()));
    }
}
