//! What can go wrong between us and a monitor.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A result of talking to a monitor.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between us and a monitor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens at the socket.
    #[error("cannot connect to the QMP socket {}", path.display())]
    Connect {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody listens, but does not greet: the monitor has another client, or it is no monitor.
    #[error(
        "the QMP socket gave no greeting within {waited:?}: a monitor serves one client at a time, \
         and this one seems to have another (a management program, or another vmferry)"
    )]
    NoGreeting {
        /// How long was waited.
        waited: Duration,
    },
    /// It is the monitor for people.
    #[error(
        "the socket is that of a monitor for people (HMP, with the prompt '(qemu)'), a QMP monitor was expected"
    )]
    HumanMonitor,
    /// Reading or writing failed.
    #[error("the connection to the monitor broke")]
    Io(#[from] io::Error),
    /// QEMU has gone, or has closed the connection.
    #[error("QEMU closed the monitor connection")]
    Closed,
    /// QEMU refused a command; the text is its own.
    #[error("QEMU refused '{command}': {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's error class: `GenericError`, `CommandNotFound`, …
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// A descriptor was sent along, and has not reached QEMU.
    #[error(
        "no descriptor came through to QEMU ({description}): what is between here and its monitor (a proxy) passes \
         none on; connect to QEMU's own socket"
    )]
    DescriptorLost {
        /// QEMU's words.
        description: String,
    },
    /// No answer came in time. While QEMU loads the devices of an incoming machine, its monitor is
    /// dead.
    #[error("no answer to '{command}' within {waited:?}")]
    Timeout {
        /// The command, or the event that was waited for.
        command: String,
        /// How long was waited.
        waited: Duration,
    },
    /// What came is not what a monitor sends.
    #[error("the monitor sent {what}")]
    Protocol {
        /// What came.
        what: String,
    },
}

impl Error {
    /// What a refusal of `getfd` means.
    pub(super) fn of_getfd(self) -> Self {
        match self {
            // QEMU's words are about how descriptors travel.
            Self::Refused { description, .. } if description.contains("SCM_RIGHTS") => {
                Self::DescriptorLost { description }
            }
            error => error,
        }
    }

    /// Whether QEMU does not know the command.
    pub fn is_unknown_command(&self) -> bool {
        matches!(self, Self::Refused { class, .. } if class == "CommandNotFound")
    }
}
