//! What the machine type decides about a stream.
//!
//! A machine type is named after a release, and every later QEMU writes and expects its streams as that release
//! did. So the machine type says what a destination expects, and nobody has to guess which QEMU it is.

/// How the streams of a machine type look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    /// What stands in the main channel where all multifd channels meet.
    #[doc(alias = "multifd-flush-after-each-section")]
    pub meeting_points: MeetingPoints,
    /// How multifd has pages that are zero.
    #[doc(alias = "zero-page-detection")]
    pub zero_pages: ZeroPages,
    /// Whether SWITCHOVER_START says that no more live data comes: from 10.0 on, and not understood before.
    #[doc(alias = "send-switchover-start")]
    pub switchover_start: bool,
    /// Whether the channel of requested pages ends with an EOS record: up to 7.1 the destination waits for
    /// it, and QEMU 7.2 itself does with its own machine types, too.
    #[doc(alias = "x-preempt-pre-7-2")]
    pub preempt_eos: bool,
}

/// What stands in the main channel where all multifd channels meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeetingPoints {
    /// The end of each piece of RAM: up to 8.0.
    Eos,
    /// A record of its own: from 8.1 on.
    Flush,
}

/// How multifd has pages that are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroPages {
    /// As records in the main channel: up to 8.2.
    Main,
    /// Listed in the packets: from 9.0 on.
    Packets,
}

impl Rules {
    /// Those of a machine type that ends with a release (`pc-q35-8.2`); `None` for others (`microvm`,
    /// `pc-q35-rhel9.4.0`), which name none.
    pub fn of(machine: &str) -> Option<Self> {
        let (_, release) = machine.rsplit_once('-')?;
        let (major, minor) = release.split_once('.')?;
        let number = |digits: &str| -> Option<u32> {
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse().ok())?
        };
        Some(Self::of_release(number(major)?, number(minor)?))
    }

    /// Those of the machine types of a release.
    pub fn of_release(major: u32, minor: u32) -> Self {
        let release = (major, minor);
        Self {
            meeting_points: if release <= (8, 0) {
                MeetingPoints::Eos
            } else {
                MeetingPoints::Flush
            },
            zero_pages: if release <= (8, 2) {
                ZeroPages::Main
            } else {
                ZeroPages::Packets
            },
            switchover_start: release >= (10, 0),
            preempt_eos: release <= (7, 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_begins_or_ends_with_a_release() {
        for (machine, points, zeros, switchover_start, preempt_eos) in [
            (
                "pc-q35-7.1",
                MeetingPoints::Eos,
                ZeroPages::Main,
                false,
                true,
            ),
            (
                "pc-i440fx-7.2",
                MeetingPoints::Eos,
                ZeroPages::Main,
                false,
                true,
            ),
            (
                "pc-q35-8.0",
                MeetingPoints::Eos,
                ZeroPages::Main,
                false,
                false,
            ),
            (
                "virt-8.1",
                MeetingPoints::Flush,
                ZeroPages::Main,
                false,
                false,
            ),
            (
                "pc-q35-8.2",
                MeetingPoints::Flush,
                ZeroPages::Main,
                false,
                false,
            ),
            (
                "s390-ccw-virtio-9.0",
                MeetingPoints::Flush,
                ZeroPages::Packets,
                false,
                false,
            ),
            (
                "pc-q35-9.2",
                MeetingPoints::Flush,
                ZeroPages::Packets,
                false,
                false,
            ),
            (
                "pc-q35-10.0",
                MeetingPoints::Flush,
                ZeroPages::Packets,
                true,
                false,
            ),
            (
                "pc-q35-11.3",
                MeetingPoints::Flush,
                ZeroPages::Packets,
                true,
                false,
            ),
        ] {
            let expected = Rules {
                meeting_points: points,
                zero_pages: zeros,
                switchover_start,
                preempt_eos,
            };
            assert_eq!(Rules::of(machine), Some(expected), "{machine}");
        }
    }

    #[test]
    fn a_machine_type_without_a_release_tells_nothing() {
        for machine in [
            "microvm",
            "isapc",
            "pc-q35-rhel9.4.0",
            "pc-q35-noble",
            "pc-q35-",
            "pc-q35-8",
            "a-.1",
            "a-8.",
            "a-+8.0",
        ] {
            assert_eq!(Rules::of(machine), None, "{machine}");
        }
    }
}
