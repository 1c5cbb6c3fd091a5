//! What is done to which save.

use std::fmt;

use crate::Release;

/// A kind of save, and what is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The QEMU that runs the guest.
    pub release: Release,
    /// How the guest is saved.
    pub how: How,
    /// What is done meanwhile.
    pub blow: Blow,
}

/// How a guest is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `--mode snapshot`
    Snapshot,
    /// `--mode stop`
    Stop,
    /// `--mode live`
    Live,
    /// As the command of QEMU's `migrate "exec:…"`, for a background snapshot.
    Exec,
    /// The same, with a shell behind it that reads what is left of the stream.
    ExecDrained,
}

/// What is done to a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The saver is killed.
    KillSaver,
    /// The guardian is killed.
    KillGuardian,
    /// Both are killed, at once.
    KillBoth,
    /// The saver is stopped for longer than every time-out, then goes on.
    StopSaver,
    /// The guardian is.
    StopGuardian,
    /// QEMU is.
    StopQemu,
    /// The process group gets a SIGTERM.
    Terminate,
    /// The process group gets a SIGINT.
    Interrupt,
    /// The process group gets a SIGHUP.
    HangUp,
    /// The disk of the store has less room than it takes.
    DiskFull,
    /// The disk of the store takes nothing for longer than every time-out, then goes on.
    DiskHangs,
}

impl How {
    const ALL: [Self; 5] = [
        Self::Snapshot,
        Self::Stop,
        Self::Live,
        Self::Exec,
        Self::ExecDrained,
    ];

    /// Whether QEMU starts the save itself.
    pub fn is_exec(self) -> bool {
        matches!(self, Self::Exec | Self::ExecDrained)
    }

    /// What follows `--mode`, here or in the save after it.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Snapshot | Self::Exec | Self::ExecDrained => "snapshot",
            Self::Stop => "stop",
            Self::Live => "live",
        }
    }
}

impl Blow {
    const ALL: [Self; 11] = [
        Self::KillSaver,
        Self::KillGuardian,
        Self::KillBoth,
        Self::StopSaver,
        Self::StopGuardian,
        Self::StopQemu,
        Self::Terminate,
        Self::Interrupt,
        Self::HangUp,
        Self::DiskFull,
        Self::DiskHangs,
    ];

    /// At how many moments.
    pub fn runs(self) -> u32 {
        match self {
            Self::KillSaver | Self::KillGuardian | Self::KillBoth => 30,
            _ => 10,
        }
    }

    /// Whether the store has to be on a disk of its own.
    pub fn needs_a_disk(self) -> bool {
        matches!(self, Self::DiskFull | Self::DiskHangs)
    }
}

impl Cell {
    /// All of them, what matters most first.
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for blow in Blow::ALL {
            for release in Release::ALL {
                for how in How::ALL {
                    // Nobody but QEMU's shell is in the process group of such a save, and what befalls one
                    // of saver and guardian alone is answered as in the other ways.
                    if !how.is_exec() || blow == Blow::KillBoth {
                        cells.push(Self { release, how, blow });
                    }
                }
            }
        }
        cells
    }

    /// Whether the guest is to outlive it. QEMU 7.2 never lets one go on whose background snapshot has lost its
    /// reader, and only a shell that is not killed with the save can read on.
    pub fn is_promised(&self) -> bool {
        *self
            != Self {
                release: Release::V7_2,
                how: How::Exec,
                blow: Blow::KillBoth,
            }
    }

    /// Those that one of `patterns` names; all if there are none.
    ///
    /// A pattern is the beginning of a name, part by part, and `*` stands for any characters of a part:
    /// `7.2`, `*/stop`, `10.0/*/kill-*`.
    ///
    /// # Errors
    /// A pattern that names none.
    pub fn named(patterns: &[String]) -> anyhow::Result<Vec<Self>> {
        let all = Self::all();
        for pattern in patterns {
            anyhow::ensure!(
                all.iter().any(|cell| matches(pattern, &cell.to_string())),
                "no cell is called '{pattern}'; one is called '7.2/stop/kill-both' (--list shows them all)"
            );
        }
        let named = |cell: &Self| {
            let name = cell.to_string();
            patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, &name))
        };
        Ok(all.into_iter().filter(named).collect())
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = name.split('/');
    pattern
        .split('/')
        .all(|pattern| parts.next().is_some_and(|part| matches_part(pattern, part)))
}

fn matches_part(pattern: &str, part: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == part,
        Some((before, after)) => part.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .filter_map(|at| rest.get(at..))
                .any(|rest| matches_part(after, rest))
        }),
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.release, self.how, self.blow)
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "snapshot",
            Self::Stop => "stop",
            Self::Live => "live",
            Self::Exec => "exec",
            Self::ExecDrained => "exec-drained",
        })
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillSaver => "kill-saver",
            Self::KillGuardian => "kill-guardian",
            Self::KillBoth => "kill-both",
            Self::StopSaver => "stop-saver",
            Self::StopGuardian => "stop-guardian",
            Self::StopQemu => "stop-qemu",
            Self::Terminate => "term",
            Self::Interrupt => "int",
            Self::HangUp => "hup",
            Self::DiskFull => "disk-full",
            Self::DiskHangs => "disk-hangs",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_named_by_the_beginnings_of_their_names() {
        let named = |pattern: &str| Cell::named(&[pattern.to_owned()]).unwrap();
        assert_eq!(named("7.2/stop/kill-both").len(), 1);
        assert_eq!(named("7.2/stop").len(), Blow::ALL.len());
        assert_eq!(named("*/stop/kill-*").len(), 6);
        assert_eq!(named("10.0/exec*/*both").len(), 2);
        assert_eq!(named("10.0/exec").len(), 1);
        assert_eq!(named("*").len(), Cell::all().len());
        assert!(Cell::named(&["7.2/stop/kill".to_owned()]).is_err());
        assert!(Cell::named(&["7.2/stop/int/more".to_owned()]).is_err());
    }
}
