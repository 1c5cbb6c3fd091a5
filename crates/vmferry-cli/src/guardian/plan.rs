//! What a guardian has to know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::migration::Changed;
use crate::qmp::Version;

/// What a guardian has to know to put everything back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The VM, for messages.
    pub vm: String,
    /// How the migration is ended early.
    pub ending: Ending,
    /// The name under which QEMU was given its end of the channel.
    pub fd_name: String,
    /// Whether the guest ran before the save, and so has to run behind it.
    pub resume: bool,
    /// Capabilities and parameters that were changed.
    pub changed: Changed,
    /// For how long the saver may be silent.
    pub patience: Duration,
}

/// How a migration is ended early, so that the guest survives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Read everything that still comes, and drop it.
    Drain,
    /// Shut the channel down.
    Close,
}

impl Ending {
    /// For a background snapshot: QEMU 7.2 never lets the guest run again when its reader goes; 10.0
    /// does. Of the versions between we know nothing, so they are treated as the first.
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
