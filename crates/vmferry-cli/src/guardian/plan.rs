//! What a guardian has to know.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::ProcessId;
use crate::migration::Changed;
use crate::qmp::Version;

/// What a guardian has to know to put everything back. The same is noted on disk, for the case that the
/// guardian dies, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The VM, for messages.
    pub vm: String,
    /// The machine's QMP socket.
    pub socket: PathBuf,
    /// The process at its other end.
    pub qemu: Option<ProcessId>,
    /// How the migration is ended early.
    pub ending: Ending,
    /// The name under which QEMU was given its end of the channel.
    pub fd_name: String,
    /// Whether the guest ran before the save, and so has to run after it.
    pub resume: bool,
    /// Whether we have stopped the guest, or are about to.
    pub stopped: bool,
    /// When QEMU was asked to begin, in ms of the system's clock since it was started.
    pub began_ms: Option<u64>,
    /// Capabilities and parameters that were changed, or are about to be.
    pub changed: Changed,
    /// How long the saver may be silent.
    pub patience: Duration,
}

/// How a migration is ended early, so that the guest survives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Read everything that still arrives, and drop it.
    Drain,
    /// Shut the channel down.
    Close,
    /// Let QEMU write to its file until it is through; it needs no reader.
    Outlast,
}

impl Ending {
    /// For a background snapshot over a socket or pipe: a QEMU 7.2 whose reader closes never lets the guest
    /// run again; 10.0 does. Nothing is known of the versions between, so they are treated as the first.
    pub fn of_snapshot(version: &Version) -> Self {
        if version.at_least(10, 0) {
            Self::Close
        } else {
            Self::Drain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_that_are_known_to_survive_it_have_their_channel_closed() {
        let version = |major, minor| Version {
            major,
            minor,
            micro: 0,
            package: String::new(),
        };
        assert_eq!(Ending::of_snapshot(&version(7, 2)), Ending::Drain);
        assert_eq!(Ending::of_snapshot(&version(9, 2)), Ending::Drain);
        assert_eq!(Ending::of_snapshot(&version(10, 0)), Ending::Close);
        assert_eq!(Ending::of_snapshot(&version(11, 1)), Ending::Close);
    }
}
